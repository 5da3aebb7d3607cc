-- One page of a listing into the ledger: only rows that are new, changed or back from deletion are written.
-- What was unchanged is noted by ranges of ids; the listing's counts and marker move in the same statement. A row that
-- somebody looked at after the page was asked for is newer than the page, and counts as unchanged.
WITH page AS MATERIALIZED (
    SELECT DISTINCT ON (name) * FROM listed ORDER BY name, last_modified DESC
),
compared AS MATERIALIZED (
    SELECT
        p.*,
        b.id,
        b.name IS NULL OR b.deleted_at IS NOT NULL AND b.looked_at <= %(looked_at)s AS is_new,
        b.deleted_at IS NULL AND b.etag <> p.etag AND b.looked_at <= %(looked_at)s AS is_changed,
        b.looked_at > %(looked_at)s OR b.deleted_at IS NULL AND b.etag = p.etag AS is_unchanged
    FROM page AS p
    LEFT JOIN LATERAL (
        SELECT id, name, etag, deleted_at, looked_at FROM ledger.blob WHERE source = %(source)s AND name = p.name LIMIT 1
    ) AS b ON true
),
written AS (
    INSERT INTO ledger.blob (
        source, name, etag, size_bytes, last_modified, content_type, md5, event_time, looked_at, run_id
    )
    SELECT %(source)s, name, etag, size_bytes, last_modified, content_type, md5, last_modified, %(looked_at)s, %(run_id)s
    FROM compared
    WHERE is_new OR is_changed
    ON CONFLICT (source, name) DO UPDATE
    SET etag = EXCLUDED.etag,
        size_bytes = EXCLUDED.size_bytes,
        last_modified = EXCLUDED.last_modified,
        content_type = EXCLUDED.content_type,
        md5 = EXCLUDED.md5,
        etag_seen_at = clock_timestamp(),
        looked_at = EXCLUDED.looked_at,
        observed_by = 'listing',
        event_time = EXCLUDED.event_time,
        correlation_id = NULL,
        searchable_at = NULL,
        versions_seen = blob.versions_seen + (blob.etag <> EXCLUDED.etag)::integer,
        previous_etag = CASE WHEN blob.etag <> EXCLUDED.etag THEN blob.etag ELSE blob.previous_etag END,
        deleted_at = NULL,
        run_id = EXCLUDED.run_id
    WHERE blob.looked_at <= EXCLUDED.looked_at
),
noted AS (
    INSERT INTO ledger.listing_page (listing_id, page, unchanged)
    SELECT %(listing_id)s, %(page)s, range_agg(int8range(id, id, '[]'))
    FROM compared
    WHERE is_unchanged
    HAVING count(*) > 0
),
counted AS (
    SELECT
        count(*) FILTER (WHERE is_new) AS new,
        count(*) FILTER (WHERE is_changed) AS changed,
        count(*) FILTER (WHERE is_unchanged) AS unchanged,
        -- The event of a younger change may still be on its way. Without events nothing is counted.
        count(*) FILTER (
            WHERE (is_new OR is_changed) AND last_modified < clock_timestamp() - %(event_allowance)s::interval
        ) AS repaired
    FROM compared
)
UPDATE ledger.listing AS l
SET new = l.new + c.new,
    changed = l.changed + c.changed,
    unchanged = l.unchanged + c.unchanged,
    repaired = l.repaired + c.repaired,
    pages = %(page)s,
    marker = %(marker)s,
    ignored = %(ignored)s,
    touched_at = clock_timestamp()
FROM counted AS c
WHERE l.id = %(listing_id)s
RETURNING l.new, l.changed, l.unchanged, l.repaired
