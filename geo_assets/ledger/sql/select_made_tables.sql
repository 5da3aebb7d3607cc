-- The tables of vector files, and whether whoever migrates acts as their owner.
SELECT DISTINCT v.table_schema, v.table_name, pg_has_role(current_user, c.relowner, 'USAGE') AS is_ours
FROM ledger.vector_table AS v
JOIN pg_class AS c ON c.oid = to_regclass(format('%I.%I', v.table_schema, v.table_name))
ORDER BY v.table_schema, v.table_name
