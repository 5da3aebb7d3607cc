-- The items of a collection, or one of them.
WITH gone AS (
    DELETE FROM pgstac.items
    WHERE collection = %(collection_id)s AND (%(item_id)s::text IS NULL OR id = %(item_id)s)
    RETURNING id
)
SELECT count(*) AS items FROM gone
