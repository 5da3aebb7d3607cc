"""Vector files on their way to tables: read in an enclosed process, made fit, loaded and published.

Pure, except `load`, `publish`, `tables`, `comparison` and the download in `datasets`.
"""
