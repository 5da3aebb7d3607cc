-- A blob that still has a claim on an item, or is still part of a scene, stays until the item knows that it is gone.
WITH gone AS (
    DELETE FROM ledger.blob AS b
    WHERE b.deleted_at < %(before)s
        AND b.scene_id IS NULL
        AND NOT EXISTS (SELECT 1 FROM ledger.item AS i WHERE i.source = b.source AND i.name = b.name)
    RETURNING pg_column_size(b.*) AS size_bytes
)
SELECT count(*) AS rows, coalesce(sum(size_bytes), 0)::bigint AS size_bytes FROM gone
