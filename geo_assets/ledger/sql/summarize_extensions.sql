-- Blobs by extension. Names are cut short before they are grouped: a regular expression on each would take longer.
SELECT
    CASE WHEN tail ~ '^[A-Za-z0-9]{1,8}$' THEN '.' || lower(tail) ELSE '(none)' END AS extension,
    sum(blobs)::bigint AS blobs,
    sum(size_bytes)::bigint AS size_bytes
FROM (
    SELECT
        CASE WHEN strpos(right(name, 9), '.') > 0 THEN reverse(split_part(reverse(right(name, 9)), '.', 1)) END AS tail,
        count(*) AS blobs,
        sum(size_bytes) AS size_bytes
    FROM ledger.blob
    WHERE source = %(source)s AND deleted_at IS NULL
    GROUP BY tail
) AS tails
GROUP BY extension
ORDER BY size_bytes DESC
