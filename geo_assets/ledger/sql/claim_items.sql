INSERT INTO ledger.item (collection_id, item_id, source, name)
SELECT %(collection_id)s, c.item_id, %(source)s, c.name
FROM unnest(%(item_ids)s::text[], %(names)s::text[]) AS c (item_id, name)
ORDER BY c.item_id
ON CONFLICT (collection_id, item_id) DO NOTHING
