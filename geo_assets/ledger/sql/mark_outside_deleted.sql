-- Only after a look at the container found no blob outside the shards: what the ledger still has there is gone.
WITH gone AS (
    UPDATE ledger.blob AS b
    SET deleted_at = clock_timestamp(),
        deletion_held = NULL,
        described_etag = NULL,
        looked_at = %(as_of)s,
        run_id = %(run_id)s
    WHERE b.source = %(source)s
        AND b.deleted_at IS NULL
        AND b.looked_at < %(as_of)s
        AND NOT EXISTS (SELECT FROM unnest(%(shards)s::text[]) AS s (shard) WHERE starts_with(b.name, s.shard))
    RETURNING b.name
)
SELECT count(*) AS deleted FROM gone
