-- The statements that grant again what is granted on views of the ledger.
SELECT format(
    'GRANT %%s ON ledger.%%I TO %%s',
    a.privilege_type, c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
) AS statement
FROM pg_class AS c
CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.relnamespace = 'ledger'::regnamespace AND c.relname = ANY(%(views)s) AND a.grantee <> c.relowner
