-- Who wrote these items last through the API; no row for one that came otherwise.
SELECT DISTINCT ON (w.collection_id, w.item_id) w.collection_id, w.item_id, w.written_by
FROM ledger.api_write AS w
JOIN unnest(%(collection_ids)s::text[], %(item_ids)s::text[]) AS wanted (collection_id, item_id)
    USING (collection_id, item_id)
ORDER BY w.collection_id, w.item_id, w.id DESC
