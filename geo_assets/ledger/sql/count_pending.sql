-- Blobs that await a stage. Those that failed since as_of for one of the reasons %(but)s were tried, and await the next
-- run.
SELECT count(*) AS blobs, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM ledger.blob_state
WHERE source = %(source)s AND state = %(state)s AND etag_seen_at <= %(as_of)s
    AND (failed_etag = etag AND failed_at > %(as_of)s AND error_code = ANY(%(but)s)) IS NOT TRUE
