-- Items that go or wait to go, those that await consent first.
SELECT name, item_id, reason, deleted_at
FROM ledger.withdrawal
WHERE source = %(source)s
ORDER BY reason <> 'held', name
LIMIT %(most)s
