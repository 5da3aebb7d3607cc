-- The files of a source and how each stands: all, or those that runs of a job were the last to work on.
SELECT
    name, etag, size_bytes, state, run_id, catalogued_at, attempts,
    CASE WHEN failed_etag = etag THEN error_code END AS error_code,
    CASE WHEN failed_etag = etag THEN error_message END AS error_message,
    CASE WHEN failed_etag = etag THEN error_remedy END AS error_remedy,
    CASE WHEN failed_etag = etag THEN failed_at END AS failed_at
FROM ledger.blob_state
WHERE
    source = %(source)s
    AND (%(every)s OR run_id = ANY(%(run_ids)s::text[]))
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(code)s::text IS NULL OR (error_code = %(code)s AND failed_etag = etag))
    AND starts_with(name, %(prefix)s)
    AND name > %(after)s
ORDER BY name
LIMIT %(most)s
