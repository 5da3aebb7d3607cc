-- The collections of all sources, and this one where a source still has items in it, each with a source of it.
SELECT collection_id, min(source) AS source FROM ledger.source GROUP BY collection_id
UNION ALL
(SELECT collection_id, source FROM ledger.item WHERE collection_id = $1 LIMIT 1)
