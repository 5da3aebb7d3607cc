-- Only of the version the ledger knows: a late result of an older one must not take the newer one's place.
INSERT INTO ledger.raster_metadata (source, name, etag, metadata, run_id)
SELECT b.source, b.name, b.etag, %(metadata)s::jsonb, %(run_id)s::text
FROM ledger.blob AS b
WHERE b.source = %(source)s AND b.name = %(name)s AND b.etag = %(etag)s
FOR NO KEY UPDATE OF b
ON CONFLICT (source, name) DO UPDATE
SET etag = EXCLUDED.etag, metadata = EXCLUDED.metadata, described_at = clock_timestamp(), run_id = EXCLUDED.run_id
