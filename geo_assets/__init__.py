"""geo_assets keeps a geospatial catalogue true, from blobs to STAC items in PgSTAC."""
