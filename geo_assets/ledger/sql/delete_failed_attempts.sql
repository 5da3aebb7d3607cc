WITH gone AS (
    DELETE FROM ledger.failed_attempt AS a WHERE a.failed_at < %(before)s RETURNING pg_column_size(a.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
