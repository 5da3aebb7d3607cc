-- The source makes no scenes any more: each of its blobs is for itself, and read as a raster.
UPDATE ledger.blob
SET scene_id = NULL,
    asset_key = NULL,
    member_kind = 'raster',
    grouped_by = NULL,
    described_etag = CASE WHEN member_kind = 'raster' THEN described_etag END,
    failed_etag = CASE WHEN member_kind = 'raster' OR failed_stage = 'catalogue' THEN failed_etag END
WHERE source = %(source)s AND scene_id IS NOT NULL
