-- Claims on items of a collection, or on one of them; their blobs await an item again.
WITH released AS (
    DELETE FROM ledger.item
    WHERE collection_id = %(collection_id)s AND (%(item_id)s::text IS NULL OR item_id = %(item_id)s)
    RETURNING source, name
)
UPDATE ledger.blob AS b
SET catalogued_etag = NULL, catalogued_rule = NULL, catalogued_at = NULL
FROM released AS r
WHERE b.source = r.source AND coalesce(b.scene_id, b.name) = r.name
