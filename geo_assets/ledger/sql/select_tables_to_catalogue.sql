-- Blobs whose tables are there and whose items are not, or no longer as the rule says.
SELECT b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5
FROM ledger.blob_state AS b
WHERE b.source = %(source)s AND b.state = 'to_catalogue'
    AND EXISTS (SELECT FROM ledger.vector_table AS t WHERE t.source = b.source AND t.name = b.name AND t.etag = b.etag)
ORDER BY b.name
