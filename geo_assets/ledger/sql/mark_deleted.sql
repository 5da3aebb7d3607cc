-- Only after a complete listing: known blobs of its shard that no page showed. A row that was looked at
-- after the listing began, by the listing or by another, is none of them.
WITH shown AS MATERIALIZED (
    SELECT coalesce(range_agg(ids), '{}') AS ids
    FROM ledger.listing_page AS p
    CROSS JOIN unnest(p.unchanged) AS ids
    WHERE p.listing_id = %(listing_id)s
),
gone AS (
    UPDATE ledger.blob AS b
    SET deleted_at = clock_timestamp(),
        deletion_held = NULL,
        described_etag = NULL,
        looked_at = %(started_at)s,
        run_id = %(run_id)s
    WHERE b.source = %(source)s
        AND b.name >= %(scope)s
        AND starts_with(b.name, %(scope)s)
        AND b.deleted_at IS NULL
        AND b.looked_at < %(started_at)s
        AND NOT (SELECT ids FROM shown) @> b.id
    RETURNING b.etag_seen_at
)
-- When a blob went is not known: one that was seen long enough ago counts as one whose event should have come.
SELECT
    count(*) AS deleted,
    count(*) FILTER (WHERE etag_seen_at < clock_timestamp() - %(event_allowance)s::interval) AS repaired
FROM gone
