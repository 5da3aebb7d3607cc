-- The correlation ids of the events that brought the work which is left for a source, the earliest first.
SELECT b.correlation_id
FROM ledger.blob AS b
JOIN (
    SELECT name
    FROM ledger.blob_state
    WHERE source = %(source)s AND (state IN ('to_describe', 'to_catalogue') OR leaves_scene)
    UNION
    SELECT name
    FROM ledger.withdrawal
    WHERE source = %(source)s AND reason NOT IN ('held', 'in_grace')
) AS w USING (name)
WHERE b.source = %(source)s AND b.correlation_id IS NOT NULL
GROUP BY b.correlation_id
ORDER BY min(b.event_time), b.correlation_id
LIMIT %(most)s
