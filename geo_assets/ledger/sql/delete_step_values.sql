WITH gone AS (
    DELETE FROM ledger.step_value AS v
    WHERE v.stored_at < %(before)s AND v.run_id <> ALL(%(runs_in_progress)s)
    RETURNING pg_column_size(v.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
