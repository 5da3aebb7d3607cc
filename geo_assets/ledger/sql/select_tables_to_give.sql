-- Those of these tables that whoever migrates owns.
SELECT n.nspname AS schema, c.relname AS name
FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS t (schema, name)
JOIN pg_namespace AS n ON n.nspname = t.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.name
WHERE c.relkind = 'r' AND c.relowner = current_user::regrole
ORDER BY n.nspname, c.relname
