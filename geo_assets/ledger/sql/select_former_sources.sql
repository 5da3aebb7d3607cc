-- Sources that are no longer declared and still have items or tables.
SELECT
    s.source, s.url, s.collection_id, i.items, t.tables
FROM ledger.source AS s
CROSS JOIN LATERAL (SELECT count(*) AS items FROM ledger.item AS i WHERE i.source = s.source) AS i
CROSS JOIN LATERAL (
    SELECT count(DISTINCT (table_schema, table_name)) AS tables FROM ledger.vector_table AS t WHERE t.source = s.source
) AS t
WHERE s.source <> ALL(%(declared)s) AND (i.items > 0 OR t.tables > 0)
ORDER BY s.source
