-- Messages that are given up, before they go to the dead letters: where they then are is known in either case.
INSERT INTO ledger.message (
    path, queue, message_id, correlation_id, delivery_count, enqueued_at, error_code, error_message, body_start
)
SELECT DISTINCT ON (m.message_id) %(path)s, %(queue)s, m.*
FROM unnest(
    %(message_ids)s::text[], %(correlation_ids)s::text[], %(delivery_counts)s::integer[], %(enqueued_at)s::timestamptz[],
    %(error_codes)s::text[], %(error_messages)s::text[], %(body_starts)s::text[]
) AS m (message_id, correlation_id, delivery_count, enqueued_at, error_code, error_message, body_start)
ON CONFLICT (path, queue, message_id) DO UPDATE
SET correlation_id = EXCLUDED.correlation_id,
    delivery_count = EXCLUDED.delivery_count,
    enqueued_at = EXCLUDED.enqueued_at,
    error_code = EXCLUDED.error_code,
    error_message = EXCLUDED.error_message,
    body_start = EXCLUDED.body_start,
    dead_letter_id = NULL,
    state = 'to_dead_letter',
    changed_at = clock_timestamp()
