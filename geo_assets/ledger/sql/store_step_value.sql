-- A step that runs again replaces what it had stored. The disk is not waited for: a power cut ends the run too.
INSERT INTO ledger.step_value (run_id, step_key, output, mapping_key, value)
SELECT %(run_id)s, %(step_key)s, %(output)s, %(mapping_key)s, %(value)s
FROM set_config('synchronous_commit', 'off', true)
ON CONFLICT (run_id, step_key, output, mapping_key)
DO UPDATE SET value = excluded.value, stored_at = excluded.stored_at
