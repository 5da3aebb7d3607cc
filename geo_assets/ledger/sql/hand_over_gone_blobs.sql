-- Blobs that the whole listing of the new source did not show: it judges their deletion.
INSERT INTO ledger.blob (
    source, name, etag, size_bytes, last_modified, content_type, md5, etag_seen_at, catalogued_etag, catalogued_at,
    deleted_at, deletion_held, scene_id, asset_key, member_kind, observed_by, event_time, correlation_id, sequencer,
    searchable_at, looked_at, versions_seen, previous_etag, patch_revision
)
SELECT
    %(source)s, o.name, o.etag, o.size_bytes, o.last_modified, o.content_type, o.md5, o.etag_seen_at, o.catalogued_etag,
    o.catalogued_at, coalesce(o.deleted_at, clock_timestamp()), CASE WHEN o.deleted_at IS NOT NULL THEN o.deletion_held END,
    o.scene_id, o.asset_key, o.member_kind, o.observed_by, o.event_time, o.correlation_id, o.sequencer,
    o.searchable_at, o.looked_at, o.versions_seen, o.previous_etag, o.patch_revision
FROM handed_over AS h
JOIN ledger.blob AS o ON o.source = %(former)s AND o.name = h.name
WHERE NOT h.is_live AND NOT h.is_scene
ON CONFLICT (source, name) DO UPDATE
SET catalogued_etag = EXCLUDED.catalogued_etag, deletion_held = EXCLUDED.deletion_held
