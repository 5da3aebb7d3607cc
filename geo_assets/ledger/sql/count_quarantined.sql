SELECT source, error_code AS code, count(*) AS blobs
FROM ledger.blob_state
WHERE state = 'quarantined' AND permanent
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(code)s::text IS NULL OR error_code = %(code)s)
    AND (%(prefix)s::text IS NULL OR starts_with(name, %(prefix)s))
GROUP BY source, error_code
ORDER BY source, blobs DESC, code
