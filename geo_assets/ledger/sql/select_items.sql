-- Whole items of a source, newest first, rebuilt from what PgSTAC stores.
SELECT pgstac.content_hydrate(i) AS item
FROM pgstac.items AS i
JOIN ledger.item AS o ON o.collection_id = i.collection AND o.item_id = i.id
WHERE o.source = %(source)s
ORDER BY i.datetime DESC, i.id
LIMIT %(most)s
