-- Claims of blobs that are quarantined or gone: no item may speak for them, but one that waits for its blob to come back
-- or for consent.
DELETE FROM ledger.item AS i
USING ledger.withdrawal AS w
WHERE w.source = %(source)s AND w.reason IN ('refused', 'renamed', 'gone')
    AND i.collection_id = w.collection_id AND i.item_id = w.item_id
RETURNING i.collection_id, i.item_id, i.name
