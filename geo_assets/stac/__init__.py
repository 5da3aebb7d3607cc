"""STAC items and collections: dates, fields, scenes, patches, schemas, and whether an item agrees with its blob.

Pure, except `schema_download`. A new preset goes here.
"""
