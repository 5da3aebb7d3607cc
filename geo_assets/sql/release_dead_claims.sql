-- Claims of blobs that are gone or quarantined: no item may speak for them.
DELETE FROM ledger.item AS i
USING ledger.blob_state AS b
WHERE i.source = %(source)s AND b.source = i.source AND b.name = i.name AND b.state IN ('deleted', 'quarantined')
RETURNING i.collection_id, i.item_id, i.name
