"""PgSTAC: loading items, whose an id is, reading back, collections, the census, and export.

Not here: what an item says (`geo_assets.stac`).
"""
