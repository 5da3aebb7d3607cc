-- The failed attempts at a blob, the latest first, as far back as retention keeps them.
SELECT etag, stage, error_code AS code, error_message AS message, error_remedy AS remedy, permanent, failed_at, run_id
FROM ledger.failed_attempt
WHERE source = %(source)s AND name = %(name)s
ORDER BY failed_at DESC, id DESC
LIMIT %(most)s
