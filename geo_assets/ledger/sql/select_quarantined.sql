-- Quarantined blobs by source and name; each filter that is null lets all through.
SELECT
    source, name, error_code AS code, error_message AS message, error_remedy AS remedy, failed_stage AS stage, attempts,
    failed_at, run_id
FROM ledger.blob_state
WHERE state = 'quarantined' AND permanent
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(code)s::text IS NULL OR error_code = %(code)s)
    AND (%(prefix)s::text IS NULL OR starts_with(name, %(prefix)s))
ORDER BY source, name
LIMIT %(most)s
