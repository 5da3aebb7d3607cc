SELECT
    t.source, t.name, t.layer, t.table_schema, t.table_name, t.mode, t.etag, t.rows, t.geometry_column,
    t.geometry_types, t.srid, t.bbox, t.columns, t.driver, t.source_crs, t.repaired, t.split, t.linearised, t.rejected,
    t.dropped, t.duplicates, t.seconds, t.loaded_at, t.run_id
FROM ledger.vector_table AS t
WHERE %(source)s::text IS NULL OR t.source = %(source)s
ORDER BY t.source, t.name, t.layer
