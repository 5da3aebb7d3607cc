-- The latest request of each source, or of one.
SELECT source, sensor, run_key, digest, attempt, at
FROM ledger.run_request
WHERE %(source)s::text IS NULL OR source = %(source)s
