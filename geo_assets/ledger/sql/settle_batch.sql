WITH moved AS (
    UPDATE ledger.message AS m
    SET state = 'dead_letter', dead_letter_id = d.dead_letter_id, changed_at = clock_timestamp()
    FROM unnest(%(message_ids)s::text[], %(dead_letter_ids)s::text[]) AS d (message_id, dead_letter_id)
    WHERE m.path = %(path)s AND m.queue = %(queue)s AND m.message_id = d.message_id AND m.state = 'to_dead_letter'
)
UPDATE ledger.received_batch SET settled_at = clock_timestamp() WHERE id = %(batch_id)s
