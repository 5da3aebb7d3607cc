-- When the source was last listed whole by its present globs: each of its shards, by the one that waits longest.
SELECT CASE WHEN count(*) = cardinality(%(shards)s::text[]) THEN min(finished_at) END AS listed_at
FROM (
    SELECT max(finished_at) AS finished_at
    FROM ledger.listing
    WHERE source = %(source)s AND shard = ANY(%(shards)s) AND rule = %(rule)s AND complete
    GROUP BY shard
) AS latest
