-- The tables of vectors that are there, and what changes whenever one of them does.
SELECT
    coalesce(array_agg(DISTINCT table_schema || '.' || table_name), '{}') AS tables,
    count(*) || ' ' || coalesce(max(loaded_at)::text, '') AS stamp
FROM ledger.vector_table
WHERE to_regclass(format('%I.%I', table_schema, table_name)) IS NOT NULL
