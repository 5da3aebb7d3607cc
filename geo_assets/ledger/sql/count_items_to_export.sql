SELECT count(*) AS items FROM pgstac.items WHERE collection = ANY(%(collection_ids)s)
