-- Some of the source's catalogued blobs, at random, each with the item that PgSTAC has of it.
SELECT b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5, pgstac.content_hydrate(i) AS item
FROM (
    SELECT name, etag, size_bytes, last_modified, content_type, md5
    FROM ledger.blob_state
    WHERE source = %(source)s AND state = 'catalogued'
    ORDER BY random()
    LIMIT %(most)s
) AS b
JOIN ledger.item AS o ON o.source = %(source)s AND o.name = b.name
JOIN pgstac.items AS i ON i.collection = o.collection_id AND i.id = o.item_id
ORDER BY b.name
