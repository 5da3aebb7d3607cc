SELECT value
FROM ledger.step_value
WHERE run_id = %(run_id)s AND step_key = %(step_key)s AND output = %(output)s AND mapping_key = %(mapping_key)s
