INSERT INTO ledger.listing (source, shard, rule, run_id)
VALUES (%(source)s, %(shard)s, %(rule)s, %(run_id)s)
RETURNING
    id, started_at, marker, pages, new, changed, unchanged, repaired, ignored,
    -- Only what came after a listing by the same globs can have been told by events.
    EXISTS (
        SELECT FROM ledger.listing AS l
        WHERE l.source = %(source)s AND l.shard = %(shard)s AND l.rule = %(rule)s AND l.complete
    ) AS follows
