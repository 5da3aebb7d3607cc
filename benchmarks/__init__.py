"""What geo_assets costs, measured against what one would write instead: run by `make bench`.

Here: the measurements, each with its peer's code beside it, and their report. Not here: tests of what is right.
"""
