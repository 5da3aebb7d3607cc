WITH gone AS (
    DELETE FROM ledger.received_batch AS b WHERE b.received_at < %(before)s RETURNING pg_column_size(b.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
