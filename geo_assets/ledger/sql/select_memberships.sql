-- What each login is a member of, and whether it may do more than any login of ours should.
SELECT
    r.rolname AS login,
    r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls AS is_strong,
    array(
        SELECT g.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
        WHERE m.member = r.oid
        ORDER BY g.rolname
    ) AS roles
FROM pg_roles AS r
WHERE r.rolname = ANY(%(logins)s::text[])
