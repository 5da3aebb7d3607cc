SELECT job_id, job_type, parameters, state, run_ids, submitted_by, correlation_id, submitted_at, seen_at
FROM ledger.api_job
ORDER BY submitted_at DESC
LIMIT %(most)s
