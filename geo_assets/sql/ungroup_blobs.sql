-- The source makes no scenes any more: each of its blobs is for itself.
UPDATE ledger.blob SET scene_id = NULL, asset_key = NULL, member_kind = 'raster', grouped_by = NULL
WHERE source = %(source)s AND scene_id IS NOT NULL
