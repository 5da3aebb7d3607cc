-- Runs that Dagster started anew by itself come behind those that are known.
UPDATE ledger.api_job
SET
    state = %(state)s,
    run_ids = run_ids || ARRAY(SELECT r FROM unnest(%(run_ids)s::text[]) AS r WHERE r <> ALL(run_ids)),
    seen_at = clock_timestamp()
WHERE job_id = %(job_id)s
RETURNING job_id
