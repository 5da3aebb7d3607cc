WITH forgotten AS (
    DELETE FROM ledger.listing_page WHERE listing_id = %(listing_id)s
)
UPDATE ledger.listing
SET finished_at = clock_timestamp(), complete = %(complete)s, deleted = %(deleted)s, repaired = %(repaired)s, marker = NULL
WHERE id = %(listing_id)s
