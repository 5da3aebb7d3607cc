-- How one blob stands.
SELECT
    name, etag, size_bytes, last_modified, state, etag_seen_at, described_etag, catalogued_etag, catalogued_at, deleted_at,
    failed_stage, CASE WHEN failed_etag = etag THEN error_code END AS code,
    CASE WHEN failed_etag = etag THEN error_message END AS message,
    CASE WHEN failed_etag = etag THEN error_remedy END AS remedy
FROM ledger.blob_state
WHERE source = %(source)s AND name = %(name)s
