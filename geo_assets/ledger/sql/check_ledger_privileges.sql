-- Whether a role has these privileges on every table and view of the ledger, and whether it has any of them on one.
SELECT bool_and(may) AS on_all, bool_or(may) AS on_any
FROM (
    SELECT has_schema_privilege(%(role)s, c.relnamespace, 'USAGE') AND has_table_privilege(%(role)s, c.oid, p) AS may
    FROM pg_class AS c
    CROSS JOIN unnest(%(privileges)s::text[]) AS p
    WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind = ANY(%(kinds)s)
) AS privileges
