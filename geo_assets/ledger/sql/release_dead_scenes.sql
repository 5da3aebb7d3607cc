-- Claims that no scene stands behind: none of its members may be in an item, or a required one is not there.
DELETE FROM ledger.item AS i
WHERE i.source = %(source)s
    AND (
        NOT EXISTS (
            SELECT FROM ledger.blob_state AS m
            WHERE m.source = i.source AND m.scene_id = i.name AND m.alive AND m.state <> 'quarantined'
        )
        OR EXISTS (
            SELECT FROM ledger.source AS s CROSS JOIN unnest(s.required_assets) AS r (asset_key)
            WHERE s.source = i.source AND NOT EXISTS (
                SELECT FROM ledger.blob_state AS m
                WHERE m.source = i.source AND m.scene_id = i.name AND m.asset_key = r.asset_key AND m.alive
            )
        )
    )
RETURNING i.collection_id, i.item_id, i.name
