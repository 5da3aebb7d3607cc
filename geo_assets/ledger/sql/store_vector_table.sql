-- What a layer of a file became. Where its rows went to another table before, the caller has taken them from there.
INSERT INTO ledger.vector_table (
    source, name, layer, table_schema, table_name, mode, etag, rows, geometry_column, geometry_types, srid, bbox,
    columns, driver, source_crs, repaired, split, linearised, rejected, dropped, duplicates, seconds, run_id
)
VALUES (
    %(source)s, %(name)s, %(layer)s, %(table_schema)s, %(table_name)s, %(mode)s, %(etag)s, %(rows)s,
    %(geometry_column)s, %(geometry_types)s, %(srid)s, %(bbox)s, %(columns)s, %(driver)s, %(source_crs)s,
    %(repaired)s, %(split)s, %(linearised)s, %(rejected)s, %(dropped)s, %(duplicates)s, %(seconds)s, %(run_id)s
)
