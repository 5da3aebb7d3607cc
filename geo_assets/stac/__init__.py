"""STAC items and collections: dates, fields, scenes, patches, schemas, and whether an item agrees with its blob.

Pure, except that `schemas` fetches schemas when a person asks. A new preset goes here.
"""
