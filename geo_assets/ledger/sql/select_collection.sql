SELECT content AS collection FROM pgstac.collections WHERE id = %(collection_id)s
