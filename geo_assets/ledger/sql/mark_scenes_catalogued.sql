-- Members of the scenes that were loaded, where each is still what was loaded: else the scene is made again.
WITH loaded AS (
    SELECT *
    FROM unnest(%(scene_ids)s::text[], %(names)s::text[], %(etags)s::text[], %(patch_revisions)s::integer[])
        AS c (scene_id, name, etag, patch_revision)
),
held AS MATERIALIZED (
    SELECT b.scene_id, b.name, b.etag
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
UPDATE ledger.blob AS b
SET catalogued_etag = h.etag,
    catalogued_rule = %(rule_digest)s,
    catalogued_at = clock_timestamp(),
    searchable_at = coalesce(b.searchable_at, clock_timestamp()),
    failed_etag = NULL,
    failed_rule = NULL,
    failed_stage = NULL,
    failed_at = NULL,
    error_code = NULL,
    error_message = NULL,
    permanent = false,
    attempts = 0,
    run_id = %(run_id)s
FROM held AS h
JOIN whole AS w USING (scene_id)
WHERE b.source = %(source)s AND b.name = h.name
