"""What people write in sources.yaml: its schema, part by part.

A new key of a source goes here. Not here: reading the file (`geo_assets.resources.sources_file`), and what follows from
it.
"""
