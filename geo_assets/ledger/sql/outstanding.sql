-- Live rows, and the work the ledger already knows of, with a digest that names that work. What waits for a grace
-- period or for consent is none.
SELECT
    b.live,
    b.pending,
    b.cogs_to_link,
    b.size_bytes,
    b.leaving + w.to_withdraw AS to_withdraw,
    w.held,
    b.digest + w.digest AS digest,
    -- A rule that changed makes work of old blobs: it waits since then.
    greatest(b.seen_at, (SELECT updated_at FROM ledger.source WHERE b.pending > b.cogs_to_link AND source = %(source)s))
        AS pending_since,
    (SELECT coalesce(max(generation), 0) FROM ledger.listing WHERE source = %(source)s) AS generation
FROM (
    SELECT
        count(*) FILTER (WHERE state <> 'deleted') AS live,
        count(*) FILTER (WHERE is_pending) AS pending,
        count(*) FILTER (WHERE leaves_scene) AS leaving,
        count(*) FILTER (WHERE lacks_cog) AS cogs_to_link,
        coalesce(sum(size_bytes) FILTER (WHERE is_pending AND NOT lacks_cog), 0)::bigint AS size_bytes,
        min(etag_seen_at) FILTER (WHERE is_pending AND NOT lacks_cog) AS seen_at,
        coalesce(
            sum(hashtextextended(name || E'\n' || etag || E'\n' || state || rule_digest, 0)::numeric)
                FILTER (WHERE is_pending OR leaves_scene),
            0
        ) AS digest
    FROM (
        SELECT *, state IN ('to_describe', 'to_catalogue') AS is_pending
        FROM (
            -- OFFSET 0: the state of a row is worked out once, not once a count.
            SELECT
                name, etag, size_bytes, etag_seen_at, rule_digest, state, leaves_scene,
                -- As in count_states: the item can be searched, and only does not tell of its COG yet.
                state = 'to_catalogue' AND catalogued_etag IS NOT DISTINCT FROM etag
                    AND catalogued_rule IS NOT DISTINCT FROM rule_digest || ' but COGs' AS lacks_cog
            FROM ledger.blob_state
            WHERE source = %(source)s
            OFFSET 0
        ) AS known
    ) AS work
) AS b
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE reason NOT IN ('held', 'in_grace')) AS to_withdraw,
        count(*) FILTER (WHERE reason = 'held') AS held,
        coalesce(
            sum(hashtextextended(name || E'\n' || etag || E'\n' || reason, 0)::numeric)
                FILTER (WHERE reason NOT IN ('held', 'in_grace')),
            0
        ) AS digest
    FROM ledger.withdrawal
    WHERE source = %(source)s
) AS w
