-- Of each shard of a source the latest stays, and the latest complete one: the sensor counts on from them.
WITH gone AS (
    DELETE FROM ledger.listing AS l
    WHERE l.started_at < %(before)s
        AND EXISTS (
            SELECT 1 FROM ledger.listing AS n
            WHERE n.source = l.source AND n.shard = l.shard AND n.generation > l.generation
        )
        AND (
            NOT l.complete
            OR EXISTS (
                SELECT 1 FROM ledger.listing AS n
                WHERE n.source = l.source AND n.shard = l.shard AND n.generation > l.generation AND n.complete
            )
        )
    RETURNING pg_column_size(l.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
