-- Live rows, and the work the ledger already knows of, with a digest that names that work.
SELECT
    count(*) FILTER (WHERE state <> 'deleted') AS live,
    count(*) FILTER (WHERE is_pending) AS pending,
    count(*) FILTER (WHERE to_withdraw) AS to_withdraw,
    coalesce(
        sum(hashtextextended(name || E'\n' || etag || E'\n' || state || rule_digest, 0)::numeric)
            FILTER (WHERE is_pending OR to_withdraw),
        0
    ) AS digest,
    coalesce(sum(size_bytes) FILTER (WHERE is_pending), 0)::bigint AS size_bytes,
    (SELECT coalesce(max(generation), 0) FROM ledger.listing WHERE source = %(source)s) AS generation
FROM (
    SELECT
        name, etag, size_bytes, rule_digest, state,
        state IN ('to_describe', 'to_catalogue') AS is_pending,
        leaves_scene
            OR (scene_id IS NOT NULL AND state = 'quarantined' AND catalogued_etag IS NOT NULL)
            OR (item_id IS NOT NULL AND state IN ('deleted', 'quarantined')) AS to_withdraw
    FROM (
        -- OFFSET 0: the state of a row is worked out once, not once a count.
        SELECT b.name, b.etag, b.size_bytes, b.rule_digest, b.state, b.leaves_scene, b.scene_id, b.catalogued_etag, i.item_id
        FROM ledger.blob_state AS b
        LEFT JOIN ledger.item AS i USING (source, name)
        WHERE source = %(source)s
        OFFSET 0
    ) AS known
) AS work
