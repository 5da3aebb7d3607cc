-- Blobs by decade of size: 0 holds those below 10 bytes, 3 those from 1,000 to 9,999 bytes.
SELECT CASE WHEN size_bytes < 10 THEN 0 ELSE floor(log(size_bytes))::integer END AS decade, count(*) AS blobs
FROM ledger.blob
WHERE source = %(source)s AND deleted_at IS NULL
GROUP BY decade
ORDER BY decade
