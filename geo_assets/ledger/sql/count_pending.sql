SELECT count(*) AS blobs, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM ledger.blob_state
WHERE source = %(source)s AND state = %(state)s AND etag_seen_at <= %(as_of)s
