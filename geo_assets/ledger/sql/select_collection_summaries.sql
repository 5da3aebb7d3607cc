-- What the items of a collection have in common, for its summaries: the values of some properties, the range of others,
-- and their bands; of what has more than %(most)s values nothing is said.
WITH items AS MATERIALIZED (
    SELECT content -> 'properties' AS properties, content -> 'assets' AS assets
    FROM pgstac.items
    WHERE collection = %(collection_id)s
),
stated AS MATERIALIZED (
    SELECT p.key, p.value
    FROM items AS i
    CROSS JOIN LATERAL jsonb_each(i.properties) AS p
    WHERE p.key = ANY(%(valued)s::text[] || %(ranged)s::text[]) AND p.value <> 'null'
),
bands AS (
    SELECT DISTINCT jsonb_strip_nulls(
        jsonb_build_object('name', b -> 'name', 'data_type', b -> 'data_type', 'eo:common_name', b -> 'eo:common_name')
    ) AS band
    FROM items AS i
    CROSS JOIN LATERAL jsonb_each(i.assets) AS a
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(a.value -> 'bands') = 'array' THEN a.value -> 'bands' ELSE '[]' END
    ) AS b
),
summaries AS (
    SELECT s.key, jsonb_agg(DISTINCT v.value) AS value
    FROM stated AS s
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(s.value) = 'array' THEN s.value ELSE jsonb_build_array(s.value) END
    ) AS v (value)
    WHERE s.key = ANY(%(valued)s::text[])
    GROUP BY s.key
    HAVING count(DISTINCT v.value) <= %(most)s
    UNION ALL
    SELECT key, jsonb_build_object('minimum', min(value::numeric), 'maximum', max(value::numeric))
    FROM stated
    WHERE key = ANY(%(ranged)s::text[]) AND jsonb_typeof(value) = 'number'
    GROUP BY key
    UNION ALL
    SELECT 'bands', jsonb_agg(band ORDER BY band) FROM bands WHERE band <> '{}' HAVING count(*) BETWEEN 1 AND %(most)s
)
SELECT coalesce(jsonb_object_agg(key, value), '{}') AS summaries FROM summaries
