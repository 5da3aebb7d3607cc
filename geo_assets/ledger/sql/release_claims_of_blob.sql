DELETE FROM ledger.item WHERE source = %(source)s AND name = %(name)s RETURNING collection_id, item_id
