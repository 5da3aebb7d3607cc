-- What the ledger knows of blobs beyond their present version, for those of which it knows anything: earlier versions,
-- a former name, the COG of this version, and the patch of their item, which is their scene's where they have one.
SELECT
    b.name, b.versions_seen, b.previous_etag, b.patch_revision, r.old_name AS former_name, p.patch,
    CASE WHEN c.name IS NOT NULL THEN
        jsonb_build_object(
            'href', c.href, 'thumbnail_href', c.thumbnail_href, 'size_bytes', c.size_bytes, 'is_linked', c.is_linked,
            'made_at', c.made_at, 'facts', c.facts
        )
    END AS cog
FROM ledger.blob AS b
LEFT JOIN ledger.rename AS r ON r.source = b.source AND r.new_name = b.name AND r.etag = b.etag
LEFT JOIN ledger.item_patch AS p ON p.source = b.source AND p.name = coalesce(b.scene_id, b.name)
LEFT JOIN ledger.cog AS c ON c.source = b.source AND c.name = b.name AND c.etag = b.etag
WHERE b.source = %(source)s AND b.name = ANY(%(names)s)
    AND (
        b.versions_seen > 1 OR b.patch_revision > 0 OR r.new_name IS NOT NULL OR p.name IS NOT NULL
        OR c.name IS NOT NULL
    )
