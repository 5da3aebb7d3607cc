-- Live, described rasters whose present version has no COG by the present rule and was not refused one by it.
SELECT b.name, b.etag, b.size_bytes
FROM ledger.blob_state AS b
JOIN ledger.raster_metadata AS m ON m.source = b.source AND m.name = b.name AND m.etag = b.etag
LEFT JOIN ledger.cog AS c ON c.source = b.source AND c.name = b.name
WHERE b.source = %(source)s AND b.state IN ('to_catalogue', 'catalogued', 'waiting')
    AND (c.etag IS DISTINCT FROM b.etag OR c.rule_digest IS DISTINCT FROM %(rule_digest)s)
    AND NOT (
        coalesce(c.permanent, false)
        AND c.failed_etag IS NOT DISTINCT FROM b.etag AND c.failed_rule IS NOT DISTINCT FROM %(rule_digest)s
    )
ORDER BY coalesce(c.attempts, 0), b.name
LIMIT %(most)s
