-- An id became free: blobs that were refused for wanting the same one may try again.
UPDATE ledger.blob AS b SET failed_etag = NULL, permanent = false
FROM ledger.source AS s
WHERE s.source = b.source AND s.collection_id = ANY(%(collection_ids)s) AND b.error_code = 'duplicate_item'
