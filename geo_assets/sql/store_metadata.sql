INSERT INTO ledger.raster_metadata (source, name, etag, metadata, run_id)
VALUES (%(source)s, %(name)s, %(etag)s, %(metadata)s, %(run_id)s)
ON CONFLICT (source, name) DO UPDATE
SET etag = EXCLUDED.etag, metadata = EXCLUDED.metadata, described_at = clock_timestamp(), run_id = EXCLUDED.run_id
