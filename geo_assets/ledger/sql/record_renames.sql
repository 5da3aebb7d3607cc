-- A gone blob whose metadata are still there, and a new version with the same checksum and size (where the store has no
-- checksum: with the same etag, size and time) are one content: what was read of it holds, and is not read again. Where
-- other blobs have this content too, none is known to be the renamed one: those are an arrival and a deletion.
-- Not so where other blobs were read as well: sidecars and Zarr stores, whose etag goes on after a semicolon, and VRTs.
WITH gone AS MATERIALIZED (
    SELECT b.name, m.metadata, b.described_reading, k.content
    FROM ledger.blob AS b
    JOIN ledger.source AS s USING (source)
    JOIN ledger.raster_metadata AS m ON m.source = b.source AND m.name = b.name AND m.etag = b.etag
    CROSS JOIN LATERAL (
        SELECT concat_ws(' ', b.size_bytes, coalesce('md5 ' || b.md5, concat_ws(' ', 'etag', b.etag, b.last_modified)))
    ) AS k (content)
    WHERE b.source = %(source)s AND b.deleted_at IS NOT NULL
        AND b.described_reading = s.reading_digest
        AND strpos(b.etag, chr(59)) = 0
        AND m.metadata ->> 'driver' <> 'VRT'
),
-- Every blob with such a content that the rename may be of: each that is there now, and each that went since renames were
-- last looked for and was not renamed itself.
alike AS MATERIALIZED (
    SELECT
        b.name, b.etag, k.content,
        b.deleted_at IS NOT NULL AS is_gone,
        b.deleted_at IS NULL
            AND b.described_etag IS DISTINCT FROM b.etag
            AND b.failed_etag IS DISTINCT FROM b.etag
            AND strpos(b.etag, chr(59)) = 0 AS is_new
    FROM ledger.blob AS b
    CROSS JOIN LATERAL (
        SELECT concat_ws(' ', b.size_bytes, coalesce('md5 ' || b.md5, concat_ws(' ', 'etag', b.etag, b.last_modified)))
    ) AS k (content)
    WHERE b.source = %(source)s
        AND k.content IN (SELECT content FROM gone)
        AND (
            b.deleted_at IS NULL
            OR b.name IN (SELECT name FROM gone)
            OR b.deleted_at > (
                SELECT coalesce(max(l.finished_at), '-infinity')
                FROM ledger.listing AS l
                WHERE l.source = %(source)s AND l.run_id IS DISTINCT FROM %(run_id)s
            )
            AND NOT EXISTS (
                SELECT FROM ledger.rename AS r
                WHERE r.source = b.source AND r.old_name = b.name AND r.recorded_at >= b.deleted_at
            )
        )
),
-- Only where nothing else can be meant: one that went, one that came, and no other that has this content.
pairs AS MATERIALIZED (
    SELECT a.name AS new_name, g.name AS old_name, a.etag, g.metadata, g.described_reading
    FROM gone AS g
    JOIN alike AS a ON a.content = g.content AND a.is_new
    WHERE g.content IN (
        SELECT content FROM alike GROUP BY content HAVING count(*) = 2 AND count(*) FILTER (WHERE is_gone) = 1
    )
),
moved AS (
    INSERT INTO ledger.raster_metadata (source, name, etag, metadata, run_id)
    SELECT %(source)s, new_name, etag, metadata, %(run_id)s FROM pairs
    ON CONFLICT (source, name) DO UPDATE
    SET etag = EXCLUDED.etag, metadata = EXCLUDED.metadata, described_at = clock_timestamp(), run_id = EXCLUDED.run_id
),
described AS (
    UPDATE ledger.blob AS b
    SET described_etag = p.etag,
        described_reading = p.described_reading,
        catalogued_rule = NULL,
        run_id = %(run_id)s
    FROM pairs AS p
    WHERE b.source = %(source)s AND b.name = p.new_name
),
noted AS (
    INSERT INTO ledger.rename (source, new_name, old_name, etag, run_id)
    SELECT %(source)s, new_name, old_name, etag, %(run_id)s FROM pairs
    ON CONFLICT (source, new_name) DO UPDATE
    SET old_name = EXCLUDED.old_name, etag = EXCLUDED.etag, recorded_at = clock_timestamp(), run_id = EXCLUDED.run_id
)
SELECT count(*) AS renamed FROM pairs
