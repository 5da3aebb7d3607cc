-- Deletions that nobody has judged yet are held where they, with those that are held already, are more than the source
-- lets go of the items it has without those let go before. Renames and refusals do not count: nothing is lost by them.
WITH dead AS MATERIALIZED (
    SELECT w.name, w.item_id, b.deletion_held
    FROM ledger.withdrawal AS w
    JOIN ledger.blob AS b USING (source, name)
    WHERE w.source = %(source)s AND w.reason NOT IN ('refused', 'renamed')
),
verdict AS (
    SELECT
        d.candidates > %(allow)s AND d.candidates > %(most)s * (i.items - d.let_go) AS held
    FROM (
        SELECT
            count(DISTINCT item_id) FILTER (WHERE deletion_held IS NOT FALSE) AS candidates,
            count(DISTINCT item_id) FILTER (WHERE deletion_held IS FALSE) AS let_go
        FROM dead
    ) AS d
    CROSS JOIN (SELECT count(*) AS items FROM ledger.item WHERE source = %(source)s) AS i
)
UPDATE ledger.blob AS b SET deletion_held = v.held
FROM dead AS d, verdict AS v
WHERE b.source = %(source)s AND b.name = d.name AND d.deletion_held IS NULL
