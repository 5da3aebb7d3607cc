-- The blobs that both sources have, with their scenes; of all that the former source had, where %(whole)s.
WITH blobs AS (
    SELECT o.name, coalesce(n.deleted_at IS NULL AND n.name IS NOT NULL, false) AS is_live
    FROM ledger.blob AS o
    LEFT JOIN ledger.blob AS n ON n.source = %(source)s AND n.name = o.name
    WHERE o.source = %(former)s
)
INSERT INTO handed_over (name, is_live, is_scene)
SELECT name, is_live, false FROM blobs WHERE is_live OR %(whole)s
UNION ALL
SELECT DISTINCT b.scene_id, true, true
FROM ledger.blob AS b
WHERE b.scene_id IS NOT NULL
    AND (
        b.source = %(source)s AND b.name IN (SELECT name FROM blobs WHERE is_live)
        OR b.source = %(former)s AND %(whole)s
    )
ON CONFLICT DO NOTHING
