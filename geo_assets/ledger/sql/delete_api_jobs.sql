-- A job that was submitted again meanwhile stays.
WITH gone AS (
    DELETE FROM ledger.api_job AS j
    WHERE j.job_id = ANY(%(job_ids)s) AND greatest(j.submitted_at, j.seen_at) < %(before)s
    RETURNING pg_column_size(j.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
