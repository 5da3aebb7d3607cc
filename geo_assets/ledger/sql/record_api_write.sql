INSERT INTO ledger.api_write (written_by, method, path, collection_id, item_id, correlation_id)
SELECT $1, $2, $3, written.collection_id, written.item_id, $6
FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS written (collection_id, item_id, nth)
ORDER BY nth
