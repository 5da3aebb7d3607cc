-- What readers were granted on a table, to grant it again on the table that takes its place.
SELECT g.privilege_type, g.is_grantable, CASE WHEN g.grantee = 0 THEN NULL ELSE g.grantee::regrole::text END AS grantee
FROM pg_class AS c
CROSS JOIN LATERAL aclexplode(c.relacl) AS g
WHERE c.oid = to_regclass(%(regclass)s) AND g.grantee <> c.relowner
