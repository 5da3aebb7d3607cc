-- Live rows, and the work the ledger already knows of, with a digest that names that work.
SELECT
    count(*) FILTER (WHERE state <> 'deleted') AS live,
    count(*) FILTER (WHERE state IN ('to_describe', 'to_catalogue')) AS pending,
    count(*) FILTER (
        WHERE leaves_scene
            OR (scene_id IS NOT NULL AND state = 'quarantined' AND catalogued_etag IS NOT NULL)
            OR (item.item_id IS NOT NULL AND state IN ('deleted', 'quarantined'))
    ) AS to_withdraw,
    coalesce(
        sum(hashtextextended(name || E'\n' || etag || E'\n' || state || rule_digest, 0)::numeric) FILTER (
            WHERE state IN ('to_describe', 'to_catalogue')
                OR leaves_scene
                OR (scene_id IS NOT NULL AND state = 'quarantined' AND catalogued_etag IS NOT NULL)
                OR (item.item_id IS NOT NULL AND state IN ('deleted', 'quarantined'))
        ),
        0
    ) AS digest,
    coalesce(sum(size_bytes) FILTER (WHERE state IN ('to_describe', 'to_catalogue')), 0)::bigint AS size_bytes,
    (SELECT coalesce(max(generation), 0) FROM ledger.listing WHERE source = %(source)s) AS generation
FROM ledger.blob_state
LEFT JOIN ledger.item USING (source, name)
WHERE source = %(source)s
