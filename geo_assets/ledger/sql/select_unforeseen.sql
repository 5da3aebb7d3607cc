-- Files that failed for a reason that nobody foresaw, by source: their items, and their COGs.
SELECT
    source,
    count(DISTINCT name) AS files,
    (array_agg(name ORDER BY failed_at DESC))[1] AS latest,
    (array_agg(error_message ORDER BY failed_at DESC))[1] AS message
FROM (
    SELECT source, name, failed_at, error_message
    FROM ledger.blob_state
    WHERE error_code = %(code)s AND failed_etag = etag AND state IN ('quarantined', 'to_describe', 'to_catalogue')
    UNION ALL
    SELECT c.source, c.name, c.failed_at, c.error_message
    FROM ledger.cog AS c
    JOIN ledger.blob AS b ON b.source = c.source AND b.name = c.name
    WHERE c.error_code = %(code)s AND c.failed_etag = b.etag AND b.deleted_at IS NULL
) AS failed
GROUP BY source
ORDER BY source
