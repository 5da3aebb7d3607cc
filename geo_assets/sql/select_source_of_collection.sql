-- The source whose items a collection holds; no row where it is of none.
SELECT source FROM ledger.source WHERE collection_id = $1 ORDER BY source LIMIT 1
