-- Waits for writes of the API to this collection, where the source does not have it yet.
SELECT pg_advisory_xact_lock(hashtextextended('own ' || %(collection_id)s, 5))
WHERE NOT EXISTS (
    SELECT FROM ledger.source WHERE source = %(source)s AND collection_id = %(collection_id)s
)
