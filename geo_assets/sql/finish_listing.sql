UPDATE ledger.listing
SET finished_at = clock_timestamp(),
    complete = %(complete)s,
    new = %(new)s,
    changed = %(changed)s,
    deleted = %(deleted)s,
    unchanged = %(unchanged)s
WHERE id = %(listing_id)s
