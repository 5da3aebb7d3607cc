-- Collections as PgSTAC holds them; all where no ids are given.
SELECT content AS collection
FROM pgstac.collections
WHERE %(collection_ids)s::text[] IS NULL OR id = ANY(%(collection_ids)s)
ORDER BY id
