-- Some of the source's catalogued blobs, at random, each with the items that PgSTAC has of it or of its scene: a row an
-- item. What is to be read anew by what sources.yaml says now is none of them.
SELECT
    b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5,
    b.asset_key AS member,
    b.member_kind AS kind,
    pgstac.content_hydrate(i) AS item
FROM (
    SELECT
        name, etag, size_bytes, last_modified, content_type, md5, scene_id, asset_key, member_kind,
        random() AS drawn
    FROM ledger.blob_state
    WHERE source = %(source)s AND state = 'catalogued'
        AND (member_kind = 'other' OR described_reading = %(reading)s)
        AND name <> ALL(%(but)s::text[])
    ORDER BY drawn
    LIMIT %(most)s
) AS b
JOIN ledger.item AS o ON o.source = %(source)s AND o.name = coalesce(b.scene_id, b.name)
JOIN pgstac.items AS i ON i.collection = o.collection_id AND i.id = o.item_id
ORDER BY b.drawn, b.name
