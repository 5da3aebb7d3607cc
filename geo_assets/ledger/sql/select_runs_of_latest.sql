-- Dagster's tables: the runs that hold the newest event of a kind about an asset or a partition of one.
SELECT DISTINCT run_id
FROM (
    SELECT DISTINCT ON (dagster_event_type, asset_key, partition) run_id
    FROM event_logs
    WHERE dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION') AND asset_key IS NOT NULL
    ORDER BY dagster_event_type, asset_key, partition, id DESC
) AS latest
