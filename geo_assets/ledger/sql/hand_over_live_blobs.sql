-- What is known of a blob goes with it. If it was overwritten since, that is a further version of it; and what was refused
-- because the former source had its item or table, may try again.
UPDATE ledger.blob AS n
SET described_etag = CASE WHEN k.is_read THEN n.described_etag ELSE o.described_etag END,
    described_reading = CASE WHEN k.is_read THEN n.described_reading ELSE o.described_reading END,
    catalogued_etag = o.catalogued_etag,
    catalogued_at = o.catalogued_at,
    catalogued_rule = NULL,
    failed_etag = CASE WHEN NOT k.was_taken THEN n.failed_etag END,
    permanent = n.permanent AND NOT k.was_taken,
    versions_seen = o.versions_seen + n.versions_seen - k.is_same::integer,
    previous_etag = coalesce(n.previous_etag, CASE WHEN k.is_same THEN o.previous_etag ELSE o.etag END),
    patch_revision = greatest(o.patch_revision, n.patch_revision),
    etag_seen_at = CASE WHEN k.is_same THEN o.etag_seen_at ELSE n.etag_seen_at END,
    observed_by = CASE WHEN k.is_same THEN o.observed_by ELSE n.observed_by END,
    event_time = CASE WHEN k.is_same THEN o.event_time ELSE n.event_time END,
    correlation_id = CASE WHEN k.is_same THEN o.correlation_id ELSE n.correlation_id END,
    searchable_at = CASE WHEN k.is_same THEN o.searchable_at ELSE n.searchable_at END
FROM handed_over AS h
JOIN ledger.blob AS o ON o.source = %(former)s AND o.name = h.name
JOIN ledger.blob AS t ON t.source = %(source)s AND t.name = h.name
CROSS JOIN LATERAL (
    SELECT
        t.etag = o.etag AS is_same,
        t.described_etag IS NOT DISTINCT FROM t.etag AS is_read,
        coalesce(t.error_code IN ('duplicate_item', 'table_taken'), false) AS was_taken
) AS k
WHERE h.is_live AND NOT h.is_scene AND n.source = t.source AND n.name = t.name
