-- Blobs to which the source's group rule was not applied yet, or no longer holds a reason for not matching it.
SELECT b.name, b.etag
FROM ledger.blob AS b
JOIN ledger.source AS s USING (source)
WHERE b.source = %(source)s AND b.deleted_at IS NULL
    AND (
        b.grouped_by IS DISTINCT FROM s.rule_digest
        OR (b.scene_id IS NULL AND (b.failed_etag, b.failed_rule) IS DISTINCT FROM (b.etag, s.rule_digest))
    )
ORDER BY b.name
