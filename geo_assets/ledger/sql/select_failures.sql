-- Every reason that stands: quarantined blobs, and blobs whose last attempt failed and will be tried again.
SELECT name, error_code AS code, error_message AS message, error_remedy AS remedy, attempts, permanent, failed_at, run_id
FROM ledger.blob_state
WHERE source = %(source)s AND failed_etag = etag AND state IN ('quarantined', 'to_describe', 'to_catalogue')
ORDER BY name
LIMIT %(most)s
