-- Members that are gone, and no longer wait to come back or for consent, or that cannot be read any more leave their
-- scene, whose other members are then pending again, those included that were refused because of the scene as it was.
WITH leaving AS MATERIALIZED (
    SELECT name, scene_id FROM ledger.blob_state WHERE source = %(source)s AND leaves_scene
    UNION
    SELECT b.name, b.scene_id
    FROM ledger.withdrawal AS w
    JOIN ledger.blob AS b USING (source, name)
    WHERE w.source = %(source)s AND w.reason IN ('renamed', 'gone') AND b.scene_id IS NOT NULL
),
left_alone AS (
    UPDATE ledger.blob AS b
    SET catalogued_rule = NULL,
        failed_etag = CASE WHEN b.failed_stage = 'catalogue' THEN NULL ELSE b.failed_etag END
    WHERE b.source = %(source)s AND b.scene_id IN (SELECT scene_id FROM leaving)
        AND b.name NOT IN (SELECT name FROM leaving)
),
forgotten AS (
    DELETE FROM ledger.scene_document AS d USING leaving AS l WHERE d.source = %(source)s AND d.name = l.name
)
UPDATE ledger.blob AS b
SET catalogued_etag = NULL,
    catalogued_rule = NULL,
    catalogued_at = NULL,
    scene_id = CASE WHEN b.deleted_at IS NULL THEN b.scene_id END,
    grouped_by = CASE WHEN b.deleted_at IS NULL THEN b.grouped_by END
FROM leaving AS l
WHERE b.source = %(source)s AND b.name = l.name
