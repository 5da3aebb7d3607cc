-- What the schemas of the catalogue are made of, as kind and name. Without the partitions that PgSTAC makes as items come,
-- whose indexes show in that of the table they belong to: it is valid only while each partition has its own.
WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('ledger', 'pgstac')
), relations AS (
    SELECT c.oid, c.relkind, s.nspname || '.' || c.relname AS name
    FROM pg_class AS c JOIN spaces AS s ON s.oid = c.relnamespace
    WHERE NOT c.relispartition
)
SELECT CASE r.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind, r.name
FROM relations AS r
WHERE r.relkind IN ('r', 'p', 'v', 'm', 'S')
UNION
SELECT 'index', r.name || '.' || c.relname
FROM pg_index AS i JOIN relations AS r ON r.oid = i.indrelid JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indisvalid
UNION
SELECT CASE o.contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END, r.name || '.' || o.conname
FROM pg_constraint AS o JOIN relations AS r ON r.oid = o.conrelid
WHERE o.contype IN ('p', 'u', 'f', 'c', 'x') AND o.convalidated
UNION
SELECT 'trigger', r.name || '.' || t.tgname
FROM pg_trigger AS t JOIN relations AS r ON r.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION
SELECT 'function', s.nspname || '.' || p.proname || '/' || p.pronargs
FROM pg_proc AS p JOIN spaces AS s ON s.oid = p.pronamespace
