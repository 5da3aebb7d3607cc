INSERT INTO ledger.api_job (job_id, job_type, parameters, state, run_ids, submitted_by, correlation_id)
VALUES (
    %(job_id)s, %(job_type)s, %(parameters)s, 'queued', %(run_ids)s::text[], %(submitted_by)s, %(correlation_id)s
)
ON CONFLICT (job_id) DO UPDATE
SET
    state = 'queued',
    run_ids = EXCLUDED.run_ids,
    submitted_by = EXCLUDED.submitted_by,
    correlation_id = EXCLUDED.correlation_id,
    submitted_at = clock_timestamp(),
    seen_at = clock_timestamp()
