-- A gone blob whose metadata are still there, and a new version with the same checksum and size (where the store has no
-- checksum: with the same etag, size and time) are one content: what was read of it holds, and is not read again.
-- Not so where other blobs were read as well: sidecars and Zarr stores, whose etag goes on after a semicolon, and VRTs.
WITH gone AS MATERIALIZED (
    SELECT
        b.name,
        m.metadata,
        b.described_reading,
        k.content,
        row_number() OVER (PARTITION BY k.content ORDER BY b.name) AS nth
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
arrived AS (
    SELECT b.name, b.etag, k.content, row_number() OVER (PARTITION BY k.content ORDER BY b.name) AS nth
    FROM ledger.blob AS b
    CROSS JOIN LATERAL (
        SELECT concat_ws(' ', b.size_bytes, coalesce('md5 ' || b.md5, concat_ws(' ', 'etag', b.etag, b.last_modified)))
    ) AS k (content)
    WHERE b.source = %(source)s AND b.deleted_at IS NULL
        AND b.described_etag IS DISTINCT FROM b.etag
        AND b.failed_etag IS DISTINCT FROM b.etag
        AND strpos(b.etag, chr(59)) = 0
        AND k.content IN (SELECT content FROM gone)
),
pairs AS MATERIALIZED (
    SELECT a.name AS new_name, g.name AS old_name, a.etag, g.metadata, g.described_reading
    FROM arrived AS a
    JOIN gone AS g USING (content, nth)
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
