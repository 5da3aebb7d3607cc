-- Close what this listing replaces, and what is too old to be resumed.
WITH abandoned AS (
    UPDATE ledger.listing
    SET finished_at = clock_timestamp(), marker = NULL
    WHERE source = %(source)s AND finished_at IS NULL AND id <> %(listing_id)s
        AND (shard = %(shard)s OR started_at <= clock_timestamp() - %(resume_for)s::interval)
    RETURNING id
)
DELETE FROM ledger.listing_page AS p USING abandoned AS a WHERE p.listing_id = a.id
