SELECT pgstac.content_hydrate(i) AS item
FROM pgstac.items AS i
WHERE i.collection = %(collection_id)s AND i.id = %(item_id)s
LIMIT 1
