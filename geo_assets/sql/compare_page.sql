-- What one page of a listing would change, without changing it.
SELECT
    count(*) FILTER (WHERE b.name IS NULL OR b.deleted_at IS NOT NULL) AS new,
    count(*) FILTER (WHERE b.deleted_at IS NULL AND b.etag <> p.etag) AS changed,
    count(*) FILTER (WHERE b.deleted_at IS NULL AND b.etag = p.etag) AS unchanged,
    coalesce(
        sum(hashtextextended(p.name || E'\n' || p.etag, 0)::numeric)
            FILTER (WHERE b.name IS NULL OR b.deleted_at IS NOT NULL OR b.etag <> p.etag),
        0
    ) AS digest
FROM unnest(%(names)s::text[], %(etags)s::text[]) AS p (name, etag)
LEFT JOIN ledger.blob AS b ON b.source = %(source)s AND b.name = p.name
