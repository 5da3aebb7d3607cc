-- The unfinished listing that may go on: of the same blobs, and not older than that its markers can be trusted.
UPDATE ledger.listing
SET run_id = %(run_id)s, touched_at = clock_timestamp(), generation = nextval('ledger.listing_generation')
WHERE id = (
    SELECT max(id)
    FROM ledger.listing
    WHERE source = %(source)s AND shard = %(shard)s AND rule = %(rule)s
        AND finished_at IS NULL AND marker IS NOT NULL
        AND started_at > clock_timestamp() - %(resume_for)s::interval
)
RETURNING
    id, started_at, marker, pages, new, changed, unchanged, repaired, ignored,
    -- Only what came after a listing by the same globs can have been told by events.
    EXISTS (
        SELECT FROM ledger.listing AS l
        WHERE l.source = %(source)s AND l.shard = %(shard)s AND l.rule = %(rule)s AND l.complete
    ) AS follows
