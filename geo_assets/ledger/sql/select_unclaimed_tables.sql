-- Blobs that have tables and no claim on an item, and can have none: gone, unreadable, or of a version that can have no
-- item, so that its tables are of another. What waits for consent or for its grace has its claim still.
SELECT DISTINCT t.name
FROM ledger.vector_table AS t
LEFT JOIN ledger.blob_state AS b USING (source, name)
WHERE t.source = %(source)s
    AND NOT EXISTS (SELECT FROM ledger.item AS i WHERE i.source = t.source AND i.name = t.name)
    AND (
        b.name IS NULL
        OR b.deleted_at IS NOT NULL
        OR (b.state = 'quarantined' AND (b.failed_stage = 'describe' OR t.etag <> b.etag))
    )
