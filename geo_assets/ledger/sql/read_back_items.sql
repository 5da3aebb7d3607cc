SELECT id, content -> 'properties' ->> 'geo_assets:etag' AS etag
FROM pgstac.items
WHERE collection = %(collection_id)s AND id = ANY(%(item_ids)s)
