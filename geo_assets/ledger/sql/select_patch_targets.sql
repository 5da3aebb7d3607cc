-- Whose items the lines of a patch file speak of, by a blob or by an item's id, and the items that are there now.
-- What is patched is a blob by its name, or a scene by its id. A vector file has an item a layer, which share its patch.
SELECT
    t.nth, p.name,
    coalesce(array_agg(pgstac.content_hydrate(i) ORDER BY i.id) FILTER (WHERE i.id IS NOT NULL), '{}') AS items
FROM unnest(%(blobs)s::text[], %(item_ids)s::text[]) WITH ORDINALITY AS t (blob, item_id, nth)
JOIN ledger.source AS s ON s.source = %(source)s
JOIN LATERAL (
    SELECT coalesce(b.scene_id, b.name) AS name
    FROM ledger.blob AS b
    WHERE b.source = %(source)s AND b.name = t.blob AND b.deleted_at IS NULL
    UNION ALL
    SELECT o.name
    FROM ledger.item AS o
    WHERE o.collection_id = s.collection_id AND o.item_id = t.item_id AND o.source = %(source)s
    LIMIT 1
) AS p ON true
LEFT JOIN ledger.item AS c ON c.source = %(source)s AND c.name = p.name
LEFT JOIN pgstac.items AS i ON i.collection = c.collection_id AND i.id = c.item_id
GROUP BY t.nth, p.name
ORDER BY t.nth
