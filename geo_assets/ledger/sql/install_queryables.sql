-- Properties of our items that PgSTAC does not offer for queries by itself; once for all collections.
INSERT INTO pgstac.queryables (name, definition, property_wrapper)
SELECT q.name, q.definition::jsonb, q.wrapper
FROM (
    VALUES
    ('proj:code', '{"title": "CRS code", "type": "string"}', 'to_text'),
    ('gsd', '{"title": "Ground sample distance in metres", "type": "number"}', 'to_float'),
    ('platform', '{"title": "Platform", "type": "string"}', 'to_text'),
    ('geo_assets:source', '{"title": "Source", "type": "string"}', 'to_text'),
    ('geo_assets:blob', '{"title": "Blob", "type": "string"}', 'to_text'),
    ('geo_assets:etag', '{"title": "Version of the blob", "type": "string"}', 'to_text')
) AS q (name, definition, wrapper)
WHERE NOT EXISTS (SELECT FROM pgstac.queryables AS p WHERE p.name = q.name)
