SELECT
    (SELECT count(*) FROM ledger.item WHERE source = %(source)s) AS items,
    count(*) FILTER (WHERE reason = 'held') AS held,
    count(*) FILTER (WHERE reason = 'in_grace') AS in_grace,
    count(*) FILTER (WHERE reason NOT IN ('held', 'in_grace')) AS due
FROM ledger.withdrawal
WHERE source = %(source)s
