WITH moved AS (
    UPDATE ledger.message
    SET state = 'dead_letter', changed_at = clock_timestamp()
    WHERE path = %(path)s AND queue = %(queue)s AND message_id = ANY(%(message_ids)s) AND state = 'to_dead_letter'
)
UPDATE ledger.received_batch SET settled_at = clock_timestamp() WHERE id = %(batch_id)s
