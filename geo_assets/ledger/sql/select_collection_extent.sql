SELECT
    min(ST_XMin(geometry)) AS west, min(ST_YMin(geometry)) AS south,
    max(ST_XMax(geometry)) AS east, max(ST_YMax(geometry)) AS north,
    min(datetime) AS first, max(coalesce(end_datetime, datetime)) AS last,
    count(*) AS items
FROM pgstac.items
WHERE collection = %(collection_id)s
