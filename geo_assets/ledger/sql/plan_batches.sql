-- The blobs in a state, cut into runs of %(batch_size)s names.
SELECT min(name) AS first, max(name) AS last, count(*) AS blobs, sum(size_bytes)::bigint AS size_bytes
FROM (
    SELECT name, size_bytes, (row_number() OVER (ORDER BY name) - 1) / %(batch_size)s AS batch
    FROM ledger.blob_state
    WHERE source = %(source)s AND state = %(state)s AND etag_seen_at <= %(as_of)s
) AS pending
GROUP BY batch
ORDER BY first
