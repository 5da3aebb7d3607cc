-- The one place that says which items go or shrink, and which of them wait and for what; a scene's claim is that of its
-- members.
CREATE OR REPLACE VIEW ledger.withdrawal AS
SELECT
    i.collection_id,
    i.item_id,
    i.name AS owner,
    b.source,
    b.name,
    b.etag,
    b.deleted_at,
    CASE
        WHEN b.state = 'quarantined' THEN 'refused'
        WHEN EXISTS (
            SELECT FROM ledger.rename AS r
            WHERE r.source = b.source AND r.old_name = b.name AND r.recorded_at >= b.deleted_at
        ) THEN 'renamed'
        WHEN b.deletion_held THEN 'held'
        WHEN b.deleted_at > clock_timestamp() - s.deletion_grace THEN 'in_grace'
        WHEN b.deletion_held IS NULL THEN 'unjudged'
        ELSE 'gone'
    END AS reason
FROM ledger.blob_state AS b
JOIN ledger.source AS s USING (source)
JOIN ledger.item AS i ON i.source = b.source AND i.name = coalesce(b.scene_id, b.name)
WHERE (b.deleted_at IS NOT NULL OR b.permanent) AND b.state IN ('deleted', 'quarantined')
    AND (b.scene_id IS NULL OR b.catalogued_etag IS NOT NULL)
