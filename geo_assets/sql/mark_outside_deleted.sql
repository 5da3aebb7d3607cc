-- Only after a look at the container found no blob outside the shards: what the ledger still has there is gone.
WITH gone AS (
    UPDATE ledger.blob AS b
    SET deleted_at = clock_timestamp(),
        described_etag = NULL,
        run_id = %(run_id)s
    WHERE b.source = %(source)s
        AND b.deleted_at IS NULL
        AND b.etag_seen_at < %(as_of)s
        AND NOT EXISTS (SELECT FROM unnest(%(shards)s::text[]) AS s (shard) WHERE starts_with(b.name, s.shard))
    RETURNING b.source, b.name
),
forgotten AS (
    DELETE FROM ledger.raster_metadata AS m USING gone AS g WHERE m.source = g.source AND m.name = g.name
)
SELECT count(*) AS deleted FROM gone
