INSERT INTO ledger.listing (source, shard, rule, run_id)
VALUES (%(source)s, %(shard)s, %(rule)s, %(run_id)s)
RETURNING id, started_at, marker, pages, new, changed, unchanged, ignored
