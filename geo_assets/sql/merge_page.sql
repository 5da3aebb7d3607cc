-- One page of a listing into the ledger: only rows that are new, changed or back from deletion are written.
WITH page AS (
    SELECT DISTINCT ON (name) * FROM listed WHERE page = %(page)s ORDER BY name, last_modified DESC
),
known AS (
    SELECT b.name, b.etag, b.deleted_at
    FROM page AS p
    JOIN ledger.blob AS b ON b.source = %(source)s AND b.name = p.name
),
written AS (
    INSERT INTO ledger.blob (source, name, etag, size_bytes, last_modified, content_type, md5, run_id)
    SELECT %(source)s, p.name, p.etag, p.size_bytes, p.last_modified, p.content_type, p.md5, %(run_id)s
    FROM page AS p
    LEFT JOIN known AS k USING (name)
    WHERE k.name IS NULL OR k.etag <> p.etag OR k.deleted_at IS NOT NULL
    ON CONFLICT (source, name) DO UPDATE
    SET etag = EXCLUDED.etag,
        size_bytes = EXCLUDED.size_bytes,
        last_modified = EXCLUDED.last_modified,
        content_type = EXCLUDED.content_type,
        md5 = EXCLUDED.md5,
        etag_seen_at = clock_timestamp(),
        deleted_at = NULL,
        run_id = EXCLUDED.run_id
)
SELECT
    count(*) FILTER (WHERE k.name IS NULL OR k.deleted_at IS NOT NULL) AS new,
    count(*) FILTER (WHERE k.deleted_at IS NULL AND k.etag <> p.etag) AS changed,
    count(*) FILTER (WHERE k.deleted_at IS NULL AND k.etag = p.etag) AS unchanged
FROM page AS p
LEFT JOIN known AS k USING (name)
