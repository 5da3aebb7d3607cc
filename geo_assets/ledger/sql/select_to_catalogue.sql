SELECT
    b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5, b.correlation_id,
    m.metadata::text AS metadata
FROM ledger.blob_state AS b
JOIN ledger.raster_metadata AS m ON m.source = b.source AND m.name = b.name AND m.etag = b.etag
WHERE b.source = %(source)s AND b.state = 'to_catalogue' AND b.name BETWEEN %(first)s AND %(last)s
    AND b.etag_seen_at <= %(as_of)s
ORDER BY b.name
