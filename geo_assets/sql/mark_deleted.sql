-- Only after a complete listing. A row first seen after the listing began may have been passed by it.
WITH gone AS (
    UPDATE ledger.blob AS b
    SET deleted_at = clock_timestamp(),
        described_etag = NULL,
        run_id = %(run_id)s
    WHERE b.source = %(source)s
        AND b.deleted_at IS NULL
        AND b.etag_seen_at < %(started_at)s
        AND NOT EXISTS (SELECT 1 FROM listed AS l WHERE l.name = b.name)
    RETURNING b.source, b.name
),
forgotten AS (
    DELETE FROM ledger.raster_metadata AS m USING gone AS g WHERE m.source = g.source AND m.name = g.name
)
SELECT count(*) AS deleted FROM gone
