SELECT
    -- As in outstanding: a rule that changed makes work of old blobs, which waits since then.
    greatest(
        min(etag_seen_at) FILTER (WHERE is_pending),
        max(updated_at) FILTER (WHERE is_pending)
    ) AS pending_since,
    count(*) FILTER (WHERE state <> 'deleted') AS blobs,
    count(*) FILTER (WHERE state <> 'deleted' AND described_etag = etag) AS described,
    count(*) FILTER (WHERE state = 'catalogued' OR lacks_cog) AS catalogued,
    count(*) FILTER (WHERE lacks_cog) AS cogs_to_link,
    count(*) FILTER (WHERE is_pending) AS pending,
    count(*) FILTER (WHERE state = 'waiting') AS waiting,
    count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
    count(*) FILTER (WHERE state = 'deleted') AS deleted,
    coalesce(sum(size_bytes) FILTER (WHERE state <> 'deleted'), 0)::bigint AS size_bytes
FROM (
    SELECT *, state IN ('to_describe', 'to_catalogue') AND NOT lacks_cog AS is_pending
    FROM (
        -- OFFSET 0: the state of a row is worked out once, not once a count.
        SELECT
            b.state, b.etag, b.described_etag, b.size_bytes, b.etag_seen_at, s.updated_at,
            -- As reopen_for_cogs has it: the item can be searched, and only does not tell of its COG yet.
            b.state = 'to_catalogue' AND b.catalogued_etag IS NOT DISTINCT FROM b.etag
                AND b.catalogued_rule IS NOT DISTINCT FROM b.rule_digest || ' but COGs' AS lacks_cog
        FROM ledger.blob_state AS b
        JOIN ledger.source AS s USING (source)
        WHERE b.source = %(source)s
        OFFSET 0
    ) AS known
) AS blob
