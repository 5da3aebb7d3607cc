-- Messages that were given up and that nobody has seen to yet, by queue, with what the latest of them says.
SELECT DISTINCT ON (path, queue)
    path,
    queue,
    count(*) OVER of_queue AS messages,
    id AS latest,
    error_code,
    error_message,
    correlation_id,
    recorded_at
FROM ledger.message
WHERE state IN ('to_dead_letter', 'dead_letter')
WINDOW of_queue AS (PARTITION BY path, queue)
ORDER BY path, queue, id DESC
