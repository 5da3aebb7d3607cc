-- Claims of these blobs on other ids, or in another collection, than the rule now gives: their items go. A blob has
-- several ids where it has several layers.
DELETE FROM ledger.item AS i
WHERE i.source = %(source)s AND i.name = ANY(%(names)s::text[])
    AND NOT EXISTS (
        SELECT FROM unnest(%(item_ids)s::text[], %(names)s::text[]) AS c (item_id, name)
        WHERE c.name = i.name AND c.item_id = i.item_id AND i.collection_id = %(collection_id)s
    )
RETURNING i.collection_id, i.item_id, i.name
