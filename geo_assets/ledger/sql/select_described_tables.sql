-- What the items of a file say of its tables.
SELECT
    layer, table_schema || '.' || table_name AS table, rows, columns, geometry_types, srid, bbox, driver
FROM ledger.vector_table
WHERE source = %(source)s AND name = %(name)s AND etag = %(etag)s
ORDER BY layer
