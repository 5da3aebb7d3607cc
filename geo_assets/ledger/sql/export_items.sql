-- Whole items of collections, newest first (the order of PgSTAC's index, so that near dates share a row group).
SELECT pgstac.content_hydrate(i) AS item
FROM pgstac.items AS i
WHERE i.collection = ANY(%(collection_ids)s)
ORDER BY i.datetime DESC, i.end_datetime, i.id
