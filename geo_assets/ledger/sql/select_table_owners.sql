-- Who else has rows in a table.
SELECT source, name, mode FROM ledger.vector_table
WHERE table_schema = %(table_schema)s AND table_name = %(table_name)s
    AND (source, name) IS DISTINCT FROM (%(source)s, %(name)s)
ORDER BY source, name
