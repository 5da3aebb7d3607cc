-- One version of a raster with its metadata, if it is still the present one.
SELECT
    b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5, b.correlation_id,
    m.metadata::text AS metadata
FROM ledger.blob AS b
JOIN ledger.raster_metadata AS m ON m.source = b.source AND m.name = b.name AND m.etag = b.etag
WHERE b.source = %(source)s AND b.name = %(name)s AND b.etag = %(etag)s AND b.deleted_at IS NULL
