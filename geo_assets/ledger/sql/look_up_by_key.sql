-- A page is a few thousand look-ups by key, whatever the planner takes the ledger's size for. Of a new ledger it knows
-- nothing and would read all of it for each row or page. So the look-up stands in a LATERAL that cannot be flattened,
-- may not scan, and is not prepared, for a plan from when the ledger was small would be kept.
SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)
