-- made and linked: of the present version, by the present rule. refused: for good.
SELECT
    count(*) FILTER (WHERE is_current AND NOT c.is_linked) AS made,
    count(*) FILTER (WHERE is_current AND c.is_linked) AS linked,
    count(*) FILTER (WHERE NOT is_current AND is_refused) AS refused,
    count(*) FILTER (WHERE NOT is_current AND NOT is_refused) AS to_make,
    coalesce(sum(c.size_bytes) FILTER (WHERE is_current AND NOT c.is_linked), 0)::bigint AS size_bytes,
    coalesce(sum(c.original_bytes) FILTER (WHERE is_current AND NOT c.is_linked), 0)::bigint AS original_bytes
FROM ledger.blob_state AS b
JOIN ledger.raster_metadata AS m ON m.source = b.source AND m.name = b.name AND m.etag = b.etag
LEFT JOIN ledger.cog AS c ON c.source = b.source AND c.name = b.name
CROSS JOIN LATERAL (
    SELECT
        coalesce(c.etag = b.etag AND c.rule_digest = %(rule_digest)s, false) AS is_current,
        coalesce(c.permanent AND c.failed_etag = b.etag AND c.failed_rule = %(rule_digest)s, false) AS is_refused
) AS judged
WHERE b.source = %(source)s AND b.state IN ('to_catalogue', 'catalogued', 'waiting')
