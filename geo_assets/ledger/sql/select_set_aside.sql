-- Messages of a queue that were given up and neither replayed nor dropped since, the longest there first.
SELECT id AS record, coalesce(dead_letter_id, message_id) AS message_id, correlation_id, delivery_count, enqueued_at, error_code AS code,
    error_message AS reason, body_start, state, recorded_at, changed_at
FROM ledger.message
WHERE path = %(path)s AND queue = %(queue)s AND state IN ('to_dead_letter', 'dead_letter')
ORDER BY recorded_at, id
LIMIT %(most)s
