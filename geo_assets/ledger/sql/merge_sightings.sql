-- What was seen of blobs that events told of: rows that are new, changed, back from deletion or gone are written, of the
-- others only when they were looked at. A row that somebody looked at later stays as it is and counts as unchanged.
WITH seen AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(sources)s::text[], %(names)s::text[], %(etags)s::text[], %(sizes)s::bigint[], %(last_modified)s::timestamptz[],
        %(content_types)s::text[], %(md5s)s::text[],
        %(event_times)s::timestamptz[], %(correlation_ids)s::text[], %(sequencers)s::text[]
    ) AS s (
        source, name, etag, size_bytes, last_modified, content_type, md5, event_time, correlation_id, sequencer
    )
),
compared AS MATERIALIZED (
    SELECT
        s.*,
        CASE
            WHEN b.looked_at > %(looked_at)s THEN 'unchanged'
            WHEN s.etag IS NULL THEN CASE WHEN b.name IS NULL OR b.deleted_at IS NOT NULL THEN 'unchanged' ELSE 'deleted' END
            WHEN b.name IS NULL OR b.deleted_at IS NOT NULL THEN 'new'
            WHEN b.etag <> s.etag THEN 'changed'
            ELSE 'unchanged'
        END AS outcome
    FROM seen AS s
    LEFT JOIN LATERAL (
        SELECT name, etag, deleted_at, looked_at FROM ledger.blob WHERE source = s.source AND name = s.name LIMIT 1
    ) AS b ON true
),
written AS (
    INSERT INTO ledger.blob (
        source, name, etag, size_bytes, last_modified, content_type, md5,
        looked_at, observed_by, event_time, correlation_id, sequencer
    )
    SELECT
        source, name, etag, size_bytes, last_modified, content_type, md5,
        %(looked_at)s, %(path)s, event_time, correlation_id, sequencer
    FROM compared
    WHERE outcome IN ('new', 'changed')
    ORDER BY source, name COLLATE "C"
    ON CONFLICT (source, name) DO UPDATE
    SET etag = EXCLUDED.etag,
        size_bytes = EXCLUDED.size_bytes,
        last_modified = EXCLUDED.last_modified,
        content_type = EXCLUDED.content_type,
        md5 = EXCLUDED.md5,
        etag_seen_at = clock_timestamp(),
        looked_at = EXCLUDED.looked_at,
        observed_by = EXCLUDED.observed_by,
        event_time = EXCLUDED.event_time,
        correlation_id = EXCLUDED.correlation_id,
        sequencer = greatest(blob.sequencer COLLATE "C", EXCLUDED.sequencer COLLATE "C"),
        searchable_at = NULL,
        versions_seen = blob.versions_seen + (blob.etag <> EXCLUDED.etag)::integer,
        previous_etag = CASE WHEN blob.etag <> EXCLUDED.etag THEN blob.etag ELSE blob.previous_etag END,
        deleted_at = NULL,
        run_id = NULL
    WHERE blob.looked_at <= EXCLUDED.looked_at
),
gone AS (
    UPDATE ledger.blob AS b
    SET deleted_at = clock_timestamp(),
        deletion_held = NULL,
        described_etag = NULL,
        looked_at = %(looked_at)s,
        sequencer = greatest(b.sequencer COLLATE "C", c.sequencer COLLATE "C"),
        run_id = NULL
    FROM compared AS c
    WHERE b.source = c.source AND b.name = c.name AND c.outcome = 'deleted' AND b.looked_at <= %(looked_at)s
),
looked_at AS (
    UPDATE ledger.blob AS b
    SET looked_at = %(looked_at)s,
        sequencer = greatest(b.sequencer COLLATE "C", c.sequencer COLLATE "C")
    FROM compared AS c
    WHERE b.source = c.source AND b.name = c.name AND c.outcome = 'unchanged' AND b.looked_at < %(looked_at)s
)
SELECT source, name, correlation_id, outcome FROM compared ORDER BY source, name COLLATE "C"
