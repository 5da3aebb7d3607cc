SELECT collection_id, item_id, name FROM ledger.item WHERE source = %(source)s ORDER BY name, item_id LIMIT %(most)s
