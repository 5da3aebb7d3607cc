-- COGs that nothing speaks for any more: their raster is gone or refused and its item withdrawn, or the source makes no
-- COGs now. What could not be made of a raster that is gone is forgotten as well.
SELECT c.name, c.etag IS NOT NULL AS is_made
FROM ledger.cog AS c
LEFT JOIN ledger.blob_state AS b ON b.source = c.source AND b.name = c.name
LEFT JOIN ledger.item AS i ON i.source = c.source AND i.name = coalesce(b.scene_id, c.name)
WHERE c.source = %(source)s
    AND (NOT %(is_ruled)s OR (coalesce(b.state, 'deleted') IN ('deleted', 'quarantined') AND i.item_id IS NULL))
ORDER BY c.name
