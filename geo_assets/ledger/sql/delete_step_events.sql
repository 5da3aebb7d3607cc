-- Dagster's tables. What the run, its assets and its checks report stays; NULL are the lines of a log.
WITH gone AS (
    DELETE FROM event_logs AS e
    USING runs AS r
    WHERE r.run_id = e.run_id
        AND r.status = 'SUCCESS'
        AND r.update_timestamp < %(before)s AT TIME ZONE 'UTC'
        AND (
            e.dagster_event_type IS NULL
            OR e.dagster_event_type = ANY(%(event_types)s)
        )
    RETURNING pg_column_size(e.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
