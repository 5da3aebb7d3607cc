-- A message that still lies in a dead-letter queue, or is on its way there, stays until somebody has seen to it.
WITH gone AS (
    DELETE FROM ledger.message AS m
    WHERE m.state IN ('replayed', 'dropped') AND m.changed_at < %(before)s
    RETURNING pg_column_size(m.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
