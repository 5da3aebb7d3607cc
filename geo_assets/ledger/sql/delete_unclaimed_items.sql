-- These items, but those that a blob has claimed meanwhile.
DELETE FROM pgstac.items AS i
USING unnest(%(collection_ids)s::text[], %(item_ids)s::text[]) AS gone (collection_id, item_id)
WHERE i.collection = gone.collection_id AND i.id = gone.item_id
    AND NOT EXISTS (
        SELECT FROM ledger.item AS c WHERE c.collection_id = i.collection AND c.item_id = i.id
    )
