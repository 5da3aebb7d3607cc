-- Of the scenes that were loaded those whose members are each still what was loaded, locked until the end of the
-- transaction: one of which a member changed or left is made again.
WITH loaded AS (
    SELECT *
    FROM unnest(%(scene_ids)s::text[], %(names)s::text[], %(etags)s::text[], %(patch_revisions)s::integer[])
        AS c (scene_id, name, etag, patch_revision)
),
held AS MATERIALIZED (
    SELECT b.scene_id, b.name, b.etag, b.patch_revision
    FROM ledger.blob AS b
    JOIN loaded AS l
        ON l.name = b.name AND l.scene_id = b.scene_id AND l.etag = b.etag AND l.patch_revision = b.patch_revision
    WHERE b.source = %(source)s
        AND (b.permanent AND b.failed_etag = b.etag AND b.failed_stage = 'describe') IS NOT TRUE
    ORDER BY b.name
    FOR NO KEY UPDATE OF b
),
whole AS (
    SELECT scene_id
    FROM loaded AS l
    LEFT JOIN held AS h USING (scene_id, name)
    GROUP BY scene_id
    HAVING count(h.name) = count(*)
)
SELECT h.name, h.etag, h.patch_revision
FROM held AS h
JOIN whole AS w USING (scene_id)
