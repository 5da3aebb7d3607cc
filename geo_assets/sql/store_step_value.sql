-- A step that runs again replaces what it had stored.
INSERT INTO ledger.step_value (run_id, step_key, output, mapping_key, value)
VALUES (%(run_id)s, %(step_key)s, %(output)s, %(mapping_key)s, %(value)s)
ON CONFLICT (run_id, step_key, output, mapping_key)
DO UPDATE SET value = excluded.value, stored_at = excluded.stored_at
