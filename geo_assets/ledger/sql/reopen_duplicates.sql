-- Ids became free: blobs that were refused for wanting one of them may try again.
UPDATE ledger.blob AS b SET failed_etag = NULL, permanent = false
FROM ledger.source AS s, unnest(%(collection_ids)s::text[], %(item_ids)s::text[]) AS free (collection_id, item_id)
WHERE s.source = b.source AND s.collection_id = free.collection_id AND b.error_code = 'duplicate_item'
    AND (b.wanted_item_id IS NULL OR b.wanted_item_id = free.item_id)
