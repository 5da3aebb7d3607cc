-- Claims of scenes in a source that makes none any more: no blob has their name.
DELETE FROM ledger.item AS i
WHERE i.source = %(source)s
    AND (SELECT s.has_had_scenes FROM ledger.source AS s WHERE s.source = %(source)s)
    AND NOT EXISTS (SELECT FROM ledger.blob AS b WHERE b.source = i.source AND b.name = i.name)
RETURNING i.collection_id, i.item_id, i.name
