-- The source, if it is registered with this collection.
SELECT source FROM ledger.source WHERE source = %(source)s AND collection_id = %(collection_id)s
