DELETE FROM ledger.item WHERE source = %(source)s RETURNING collection_id, item_id, name
