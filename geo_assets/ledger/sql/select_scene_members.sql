-- Every member that is ready of the scenes in which a blob awaits its item, with what was read of it. Of two blobs
-- that are one asset the one in the catalogue comes first, then the one whose name does.
SELECT
    m.scene_id, m.asset_key, m.name, m.etag, m.size_bytes, m.last_modified, m.content_type, m.md5,
    m.correlation_id,
    r.metadata::text AS metadata,
    coalesce(d.content, '{}') AS document
FROM ledger.blob_state AS m
LEFT JOIN ledger.raster_metadata AS r
    ON m.member_kind = 'raster' AND r.source = m.source AND r.name = m.name AND r.etag = m.etag
LEFT JOIN ledger.scene_document AS d
    ON m.member_kind = 'document' AND d.source = m.source AND d.name = m.name AND d.etag = m.etag
WHERE m.source = %(source)s AND m.ready AND m.scene_id = ANY(
    SELECT scene_id
    FROM ledger.blob_state
    WHERE source = %(source)s AND state = 'to_catalogue' AND scene_id BETWEEN %(first)s AND %(last)s
        AND etag_seen_at <= %(as_of)s
)
ORDER BY m.scene_id, m.catalogued_etag IS NULL, m.name
