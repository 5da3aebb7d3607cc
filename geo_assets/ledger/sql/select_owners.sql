SELECT item_id, source, name FROM ledger.item WHERE collection_id = %(collection_id)s AND item_id = ANY(%(item_ids)s)
