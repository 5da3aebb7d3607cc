SELECT DISTINCT collection_id FROM ledger.item WHERE source = %(source)s
