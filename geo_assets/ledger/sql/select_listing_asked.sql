-- When a listing of the source was asked for; none where each of its shards was listed whole since, by the present globs.
SELECT s.listing_asked_at AS asked_at
FROM ledger.source AS s
WHERE s.source = %(source)s
    AND s.listing_asked_at IS NOT NULL
    AND cardinality(%(shards)s::text[]) > (
        SELECT count(DISTINCT l.shard)
        FROM ledger.listing AS l
        WHERE l.source = %(source)s
            AND l.shard = ANY(%(shards)s)
            AND l.rule = %(rule)s
            AND l.complete
            AND l.started_at >= s.listing_asked_at
    )
