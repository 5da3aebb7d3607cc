-- The patches of a source with the items they are for, which are not there yet where item_id is NULL.
SELECT p.name, o.item_id, p.patch, p.patched_at,
    EXISTS (
        SELECT FROM ledger.blob_state AS b
        WHERE b.source = p.source AND (b.name = p.name OR b.scene_id = p.name)
            AND b.state IN ('to_describe', 'to_catalogue')
    ) AS pending
FROM ledger.item_patch AS p
LEFT JOIN ledger.item AS o ON o.source = p.source AND o.name = p.name
WHERE p.source = %(source)s
ORDER BY p.name
LIMIT %(most)s
