-- When each shard was last listed to its end, and whether a listing of it is under way.
SELECT shard, max(finished_at) FILTER (WHERE complete) AS finished_at, bool_or(finished_at IS NULL) AS unfinished
FROM ledger.listing
WHERE source = %(source)s
GROUP BY shard
