"""Vector files on their way to tables: names, types, geometries and the STAC item of a layer."""
