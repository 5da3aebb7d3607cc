-- Scenes that wait, and for what: required assets that no blob is, or none that can be read.
SELECT
    w.scene_id AS scene,
    w.blobs,
    ARRAY(
        SELECT r.asset_key || coalesce(
            (
                SELECT ' (' || m.error_code || ')'
                FROM ledger.blob_state AS m
                WHERE m.source = %(source)s AND m.scene_id = w.scene_id AND m.asset_key = r.asset_key
                    AND m.state = 'quarantined'
                ORDER BY m.name
                LIMIT 1
            ),
            ''
        )
        FROM unnest(w.required_assets) WITH ORDINALITY AS r (asset_key, place)
        WHERE NOT EXISTS (
            SELECT FROM ledger.blob_state AS m
            WHERE m.source = %(source)s AND m.scene_id = w.scene_id AND m.asset_key = r.asset_key AND m.ready
        )
        ORDER BY r.place
    ) AS waiting_for
FROM (
    SELECT scene_id, required_assets, count(*) AS blobs
    FROM ledger.blob_state
    WHERE source = %(source)s AND state = 'waiting'
    GROUP BY scene_id, required_assets
    ORDER BY scene_id
    LIMIT %(most)s
) AS w
ORDER BY w.scene_id
