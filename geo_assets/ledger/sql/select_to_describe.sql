SELECT name, etag, size_bytes, last_modified, content_type, md5
FROM ledger.blob_state
WHERE source = %(source)s AND state = 'to_describe' AND name BETWEEN %(first)s AND %(last)s AND etag_seen_at <= %(as_of)s
ORDER BY name
