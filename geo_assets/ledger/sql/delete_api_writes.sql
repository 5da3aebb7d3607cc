WITH gone AS (
    DELETE FROM ledger.api_write AS w
    WHERE w.written_at < %(before)s
    RETURNING pg_column_size(w.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
