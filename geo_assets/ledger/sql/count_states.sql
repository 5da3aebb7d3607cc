SELECT
    -- As in outstanding: a rule that changed makes work of old blobs, which waits since then.
    greatest(
        min(etag_seen_at) FILTER (WHERE state IN ('to_describe', 'to_catalogue')),
        max(updated_at) FILTER (WHERE state IN ('to_describe', 'to_catalogue'))
    ) AS pending_since,
    count(*) FILTER (WHERE state <> 'deleted') AS blobs,
    count(*) FILTER (WHERE state <> 'deleted' AND described_etag = etag) AS described,
    count(*) FILTER (WHERE state = 'catalogued') AS catalogued,
    count(*) FILTER (WHERE state IN ('to_describe', 'to_catalogue')) AS pending,
    count(*) FILTER (WHERE state = 'waiting') AS waiting,
    count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
    count(*) FILTER (WHERE state = 'deleted') AS deleted,
    coalesce(sum(size_bytes) FILTER (WHERE state <> 'deleted'), 0)::bigint AS size_bytes
FROM (
    -- OFFSET 0: the state of a row is worked out once, not once a count.
    SELECT b.state, b.etag, b.described_etag, b.size_bytes, b.etag_seen_at, s.updated_at
    FROM ledger.blob_state AS b
    JOIN ledger.source AS s USING (source)
    WHERE b.source = %(source)s
    OFFSET 0
) AS blob
