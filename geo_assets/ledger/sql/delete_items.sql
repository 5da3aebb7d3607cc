DELETE FROM pgstac.items AS i
USING unnest(%(collection_ids)s::text[], %(item_ids)s::text[]) AS gone (collection_id, item_id)
WHERE i.collection = gone.collection_id AND i.id = gone.item_id
