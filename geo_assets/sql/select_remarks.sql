-- What the ledger knows of blobs beyond their present version, for those of which it knows anything: earlier versions,
-- a former name, and the patch of their item, which is their scene's where they have one.
SELECT b.name, b.versions_seen, b.previous_etag, b.patch_revision, r.old_name AS former_name, p.patch
FROM ledger.blob AS b
LEFT JOIN ledger.rename AS r ON r.source = b.source AND r.new_name = b.name AND r.etag = b.etag
LEFT JOIN ledger.item_patch AS p ON p.source = b.source AND p.name = coalesce(b.scene_id, b.name)
WHERE b.source = %(source)s AND b.name = ANY(%(names)s)
    AND (b.versions_seen > 1 OR b.patch_revision > 0 OR r.new_name IS NOT NULL OR p.name IS NOT NULL)
