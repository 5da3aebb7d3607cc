-- Claims of these blobs on another id or collection than the rule now gives: their items go.
DELETE FROM ledger.item AS i
USING unnest(%(item_ids)s::text[], %(names)s::text[]) AS c (item_id, name)
WHERE i.source = %(source)s AND i.name = c.name
    AND (i.collection_id, i.item_id) IS DISTINCT FROM (%(collection_id)s, c.item_id)
RETURNING i.collection_id, i.item_id, i.name
