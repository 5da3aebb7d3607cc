-- Dagster's tables.
SELECT count(*) AS rows, coalesce(sum(pg_column_size(e.*)), 0)::bigint AS size_bytes
FROM event_logs AS e
WHERE e.run_id = %(run_id)s
