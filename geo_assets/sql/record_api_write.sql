INSERT INTO ledger.api_write (written_by, method, path, collection_id, item_id, correlation_id)
VALUES ($1, $2, $3, $4, $5, $6)
