-- What one page of a listing would change, without changing it.
SELECT
    count(*) FILTER (WHERE b.name IS NULL OR b.deleted_at IS NOT NULL) AS new,
    count(*) FILTER (WHERE b.deleted_at IS NULL AND b.etag <> p.etag) AS changed,
    count(*) FILTER (WHERE b.deleted_at IS NULL AND b.etag = p.etag) AS unchanged,
    coalesce(
        sum(hashtextextended(p.name || E'\n' || p.etag, 0)::numeric)
            FILTER (WHERE b.name IS NULL OR b.deleted_at IS NOT NULL OR b.etag <> p.etag),
        0
    ) AS digest,
    coalesce(
        sum(p.size_bytes) FILTER (WHERE b.name IS NULL OR b.deleted_at IS NOT NULL OR b.etag <> p.etag), 0
    )::bigint AS size_bytes
FROM unnest(%(names)s::text[], %(etags)s::text[], %(sizes)s::bigint[]) AS p (name, etag, size_bytes)
LEFT JOIN LATERAL (
    SELECT name, etag, deleted_at FROM ledger.blob WHERE source = %(source)s AND name = p.name LIMIT 1
) AS b ON true
