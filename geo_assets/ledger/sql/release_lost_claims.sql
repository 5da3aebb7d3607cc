-- Claims of blobs and scenes that the ledger does not know: nobody will ever release them.
DELETE FROM ledger.item AS i
WHERE i.source = %(source)s
    AND NOT EXISTS (SELECT FROM ledger.blob AS b WHERE b.source = i.source AND b.name = i.name)
    AND NOT EXISTS (SELECT FROM ledger.blob AS m WHERE m.source = i.source AND m.scene_id = i.name)
