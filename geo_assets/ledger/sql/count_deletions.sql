SELECT
    (SELECT count(*) FROM ledger.item WHERE source = %(source)s) AS items,
    count(DISTINCT item_id) FILTER (WHERE reason = 'held') AS held,
    count(DISTINCT item_id) FILTER (WHERE reason = 'in_grace') AS in_grace,
    count(DISTINCT item_id) FILTER (WHERE reason NOT IN ('held', 'in_grace')) AS due
FROM ledger.withdrawal
WHERE source = %(source)s
