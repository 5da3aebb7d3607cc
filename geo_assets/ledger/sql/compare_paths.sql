-- How each path did since a moment: what it brought, how long that took, and how long from the event to the item.
-- A blob counts for the path that saw its present version first.
WITH seen AS (
    SELECT
        observed_by AS path,
        count(*) AS blobs,
        count(searchable_at) AS searchable,
        percentile_cont(%(shares)s::float8[]) WITHIN GROUP (
            ORDER BY greatest(0, extract(epoch FROM searchable_at - event_time)::float8)
        ) FILTER (WHERE searchable_at IS NOT NULL AND event_time IS NOT NULL) AS latencies
    FROM ledger.blob
    WHERE etag_seen_at >= %(since)s AND deleted_at IS NULL
    GROUP BY observed_by
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
