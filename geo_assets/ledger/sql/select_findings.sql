-- Blobs and items of a source against each other, both ways: each that disagrees or waits, up to %(most)s of a kind, with
-- how many there are of it. An item is the source's where the ledger says so or, with no owner there, the item itself;
-- and an item of no source is unclaimed, counted by the first source of its collection alone; so is one of a source that
-- is no longer declared.
WITH sources AS MATERIALIZED (
    SELECT source, collection_id FROM ledger.source
    WHERE %(declared)s::text[] IS NULL OR source = ANY(%(declared)s)
    UNION ALL
    -- As it is declared, where no run has registered it yet.
    SELECT %(source)s, %(collection_id)s::text
    WHERE NOT EXISTS (
        SELECT FROM ledger.source
        WHERE collection_id = %(collection_id)s AND (%(declared)s::text[] IS NULL OR source = ANY(%(declared)s))
    )
        AND %(collection_id)s::text IS NOT NULL
),
claims AS MATERIALIZED (
    SELECT source, collection_id FROM sources
    UNION
    SELECT source, collection_id FROM ledger.item WHERE %(declared)s::text[] IS NULL OR source = ANY(%(declared)s)
),
items AS MATERIALIZED (
    SELECT
        i.collection AS collection_id,
        i.id AS item_id,
        c.name AS owner,
        p.properties ->> 'geo_assets:blob' AS blob,
        p.properties ->> 'geo_assets:etag' AS etag,
        u.unclaimed,
        count(*) OVER (PARTITION BY i.collection, i.id) AS copies
    FROM pgstac.items AS i
    -- OFFSET 0: the content, which lies apart where it is large, is fetched once an item.
    CROSS JOIN LATERAL (SELECT i.content -> 'properties' AS properties OFFSET 0) AS p
    LEFT JOIN ledger.item AS c ON c.collection_id = i.collection AND c.item_id = i.id
    CROSS JOIN LATERAL (
        SELECT
            c.source IS NULL
            AND (coalesce(p.properties ->> 'geo_assets:source', ''), i.collection) NOT IN (
                SELECT source, collection_id FROM claims
            ) AS unclaimed
    ) AS u
    WHERE i.collection IN (SELECT collection_id FROM claims WHERE source = %(source)s)
        AND CASE
            WHEN c.source IS NOT NULL THEN c.source = %(source)s
            WHEN u.unclaimed THEN i.collection IN (
                SELECT collection_id FROM sources GROUP BY collection_id HAVING min(source) = %(source)s
            )
            ELSE p.properties ->> 'geo_assets:source' = %(source)s
        END
),
blobs AS MATERIALIZED (
    SELECT name, etag, state FROM ledger.blob_state WHERE source = %(source)s AND scene_id IS NULL
    UNION ALL
    -- A scene counts as one blob, whose etag is the digest of what is catalogued of it (see geo_assets.stac.scene).
    SELECT
        scene_id AS name,
        left(
            encode(
                sha256(
                    convert_to(
                        string_agg(
                            concat_ws(E'\t', asset_key, name, etag), E'\n' ORDER BY asset_key COLLATE "C"
                        ) FILTER (WHERE catalogued_etag = etag AND state IN ('catalogued', 'deleted')),
                        'UTF8'
                    )
                ),
                'hex'
            ),
            32
        ) AS etag,
        CASE
            WHEN bool_or(state IN ('to_describe', 'to_catalogue')) THEN 'to_catalogue'
            WHEN bool_or(state = 'catalogued') THEN 'catalogued'
            WHEN bool_or(state = 'waiting') THEN 'waiting'
            WHEN bool_or(state = 'quarantined') THEN 'quarantined'
            ELSE 'deleted'
        END AS state
    FROM ledger.blob_state
    WHERE source = %(source)s AND scene_id IS NOT NULL
    GROUP BY scene_id
),
findings AS (
    SELECT
        CASE WHEN b.state = 'catalogued' THEN 'missing' ELSE 'pending' END AS kind,
        b.name,
        NULL AS collection_id,
        NULL AS item_id
    FROM blobs AS b
    WHERE b.state IN ('catalogued', 'to_describe', 'to_catalogue')
        AND NOT EXISTS (SELECT FROM items AS i WHERE i.owner = b.name)
    UNION ALL
    -- Of the several that a vector file has: an item that is claimed and not there, or a table.
    SELECT 'missing', m.name, NULL, NULL
    FROM (
        SELECT c.name
        FROM ledger.item AS c
        WHERE c.source = %(source)s
            AND NOT EXISTS (SELECT FROM items AS i WHERE i.collection_id = c.collection_id AND i.item_id = c.item_id)
        UNION
        SELECT t.name
        FROM ledger.vector_table AS t
        WHERE t.source = %(source)s AND to_regclass(format('%%I.%%I', t.table_schema, t.table_name)) IS NULL
    ) AS m
    JOIN blobs AS b ON b.name = m.name AND b.state = 'catalogued'
    WHERE EXISTS (SELECT FROM items AS i WHERE i.owner = b.name)
    UNION ALL
    SELECT
        CASE
            WHEN i.unclaimed THEN 'unclaimed'
            WHEN i.owner IS NULL AND EXISTS (SELECT FROM items AS o WHERE o.owner = i.blob) THEN 'duplicate'
            WHEN i.owner IS NULL OR b.name IS NULL THEN 'orphan'
            WHEN w.reason IN ('held', 'in_grace') THEN w.reason
            WHEN w.reason IS NOT NULL THEN 'going'
            WHEN i.copies > 1 THEN 'duplicate'
            WHEN b.state = 'catalogued' AND (i.etag IS DISTINCT FROM b.etag OR i.blob IS DISTINCT FROM b.name) THEN 'stale'
        END AS kind,
        CASE WHEN NOT i.unclaimed THEN coalesce(i.owner, i.blob) END AS name,
        i.collection_id,
        i.item_id
    FROM items AS i
    LEFT JOIN blobs AS b ON b.name = i.owner
    LEFT JOIN (
        SELECT DISTINCT ON (owner) owner, reason FROM ledger.withdrawal WHERE source = %(source)s
        ORDER BY owner, reason NOT IN ('held', 'in_grace')
    ) AS w ON w.owner = i.owner
    UNION ALL
    SELECT 'former', c.name, c.collection_id, c.item_id
    FROM ledger.item AS c
    WHERE %(declared)s::text[] IS NOT NULL AND c.source <> ALL(%(declared)s)
        AND c.collection_id IN (
            SELECT collection_id FROM sources GROUP BY collection_id HAVING min(source) = %(source)s
        )
    UNION ALL
    -- The ledger's claim on an item of a blob that the ledger does not know.
    SELECT 'orphan', c.name, c.collection_id, c.item_id
    FROM ledger.item AS c
    WHERE c.source = %(source)s
        AND NOT EXISTS (SELECT FROM blobs AS b WHERE b.name = c.name)
        AND NOT EXISTS (SELECT FROM items AS i WHERE i.collection_id = c.collection_id AND i.item_id = c.item_id)
),
ranked AS (
    SELECT
        kind, name, collection_id, item_id,
        count(*) OVER (PARTITION BY kind) AS total,
        row_number() OVER (PARTITION BY kind ORDER BY name, item_id) AS nth
    FROM findings
    WHERE kind IS NOT NULL
)
SELECT kind, name, collection_id, item_id, total
FROM ranked
WHERE nth <= %(most)s
ORDER BY kind, nth
