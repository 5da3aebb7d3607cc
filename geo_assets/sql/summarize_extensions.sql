SELECT
    coalesce(lower(substring(name FROM '\.[A-Za-z0-9]{1,8}$')), '(none)') AS extension,
    count(*) AS blobs,
    sum(size_bytes)::bigint AS size_bytes
FROM ledger.blob
WHERE source = %(source)s AND deleted_at IS NULL
GROUP BY extension
ORDER BY size_bytes DESC
