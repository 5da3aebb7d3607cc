-- How each path did since a moment: what it brought, how long that took, and how long from the event to the item.
-- A blob counts for the path that saw its present version first.
WITH shard AS (
    SELECT DISTINCT ON (source, shard)
        source,
        min(started_at) FILTER (WHERE complete) OVER rule_of_shard AS started_at,
        min(finished_at) FILTER (WHERE complete) OVER rule_of_shard AS finished_at
    FROM ledger.listing
    WINDOW rule_of_shard AS (PARTITION BY source, shard, rule)
    ORDER BY source, shard, generation DESC
),
-- Since when each source has been listed whole by its present globs. How long a listing took to find what lay there
-- before, or what the globs let through only now, says nothing of how soon it finds what comes.
watched AS (
    SELECT source, max(started_at) AS started_at, max(finished_at) AS finished_at
    FROM shard
    GROUP BY source
    HAVING bool_and(finished_at IS NOT NULL)
),
seen AS (
    SELECT
        b.observed_by AS path,
        count(*) AS blobs,
        count(b.searchable_at) AS searchable,
        percentile_cont(%(shares)s::float8[]) WITHIN GROUP (
            ORDER BY greatest(0, extract(epoch FROM b.searchable_at - b.event_time)::float8)
        ) FILTER (
            WHERE b.searchable_at IS NOT NULL
            AND b.event_time IS NOT NULL
            AND (b.observed_by <> 'listing' OR b.event_time >= w.started_at AND b.etag_seen_at > w.finished_at)
        ) AS latencies
    FROM ledger.blob AS b
    LEFT JOIN watched AS w USING (source)
    WHERE b.etag_seen_at >= %(since)s AND b.deleted_at IS NULL
    GROUP BY b.observed_by
),
received AS (
    SELECT
        path,
        count(*) AS batches,
        sum(messages) AS messages,
        sum((SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(dropped))) AS dropped,
        sum(redelivered) AS redelivered,
        sum(abandoned) AS abandoned,
        sum(poisoned) AS poisoned,
        sum(extract(epoch FROM settled_at - received_at)) AS seconds
    FROM ledger.received_batch
    WHERE received_at >= %(since)s
    GROUP BY path
    UNION ALL
    SELECT
        'listing',
        count(*),
        sum(new + changed + unchanged),
        0,
        0,
        0,
        0,
        sum(extract(epoch FROM coalesce(finished_at, touched_at) - started_at))
    FROM ledger.listing
    WHERE started_at >= %(since)s
)
SELECT
    p.path,
    coalesce(r.batches, 0) AS batches,
    coalesce(r.messages, 0)::bigint AS messages,
    coalesce(r.dropped, 0)::bigint AS dropped,
    coalesce(r.redelivered, 0)::bigint AS redelivered,
    coalesce(r.abandoned, 0)::bigint AS abandoned,
    coalesce(r.poisoned, 0)::bigint AS poisoned,
    coalesce(r.seconds, 0)::float8 AS seconds,
    coalesce(s.blobs, 0) AS blobs,
    coalesce(s.searchable, 0) AS searchable,
    s.latencies
FROM unnest(ARRAY['listing', 'storage_queue', 'service_bus']) WITH ORDINALITY AS p (path, position)
LEFT JOIN received AS r USING (path)
LEFT JOIN seen AS s USING (path)
ORDER BY p.position
