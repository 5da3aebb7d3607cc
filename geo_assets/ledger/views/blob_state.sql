-- The one place that says what a row's etags mean. Only a row that would be catalogued next looks at its scene.
--
-- ready: it can be part of its scene's item. alive: it can be, become, or still is part of it. leaves_scene: it is no
-- part of it any more, and the others have not heard yet; one that is gone from under an item leaves when
-- ledger.withdrawal says so. A version that could not be read is permanent in the stage describe: what stops a whole
-- scene fails in the stage catalogue, and a change of any of its members is a new chance for all of them.
CREATE OR REPLACE VIEW ledger.blob_state AS
SELECT
    b.source, b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5, b.etag_seen_at,
    b.described_etag, b.described_reading, b.catalogued_etag, b.catalogued_rule, b.catalogued_at,
    b.failed_etag, b.failed_rule, b.failed_stage, b.failed_at, b.error_code, b.error_message, b.permanent, b.attempts,
    b.deleted_at, b.run_id, b.id, b.deletion_held, b.failed_reading,
    b.scene_id, b.asset_key, b.member_kind, b.grouped_by,
    b.observed_by, b.event_time, b.correlation_id, b.sequencer, b.searchable_at, b.looked_at,
    s.collection_id, s.rule_digest, s.required_assets,
    CASE
        WHEN b.deleted_at IS NOT NULL THEN 'deleted'
        WHEN b.permanent AND b.failed_etag = b.etag
            AND CASE b.failed_stage
                WHEN 'describe' THEN b.failed_reading IS NOT DISTINCT FROM s.reading_digest
                ELSE b.failed_rule = s.rule_digest
            END THEN 'quarantined'
        WHEN b.member_kind <> 'other'
            AND (b.described_etag IS DISTINCT FROM b.etag OR b.described_reading IS DISTINCT FROM s.reading_digest)
            THEN 'to_describe'
        WHEN b.catalogued_etag IS NOT DISTINCT FROM b.etag
            AND b.catalogued_rule IS NOT DISTINCT FROM s.rule_digest THEN 'catalogued'
        WHEN b.scene_id IS NOT NULL AND EXISTS (
            SELECT FROM unnest(s.required_assets) AS r (asset_key)
            WHERE NOT EXISTS (
                SELECT FROM ledger.blob AS m
                WHERE m.source = b.source AND m.scene_id = b.scene_id AND m.asset_key = r.asset_key
                    AND (  -- ready, as below
                        m.deleted_at IS NULL
                        AND (m.permanent AND m.failed_etag = m.etag AND m.failed_stage = 'describe'
                            AND m.failed_reading IS NOT DISTINCT FROM s.reading_digest) IS NOT TRUE
                        AND NOT (m.member_kind <> 'other' AND (m.described_etag IS DISTINCT FROM m.etag
                            OR m.described_reading IS DISTINCT FROM s.reading_digest))
                    )
            )
        ) THEN 'waiting'
        ELSE 'to_catalogue'
    END AS state,
    (
        b.deleted_at IS NULL
        AND (b.permanent AND b.failed_etag = b.etag AND b.failed_stage = 'describe'
            AND b.failed_reading IS NOT DISTINCT FROM s.reading_digest) IS NOT TRUE
        AND NOT (b.member_kind <> 'other' AND (b.described_etag IS DISTINCT FROM b.etag
            OR b.described_reading IS DISTINCT FROM s.reading_digest))
    ) AS ready,
    (b.deleted_at IS NULL OR b.catalogued_etag IS NOT NULL)
        AND (b.permanent AND b.failed_etag = b.etag AND b.failed_stage = 'describe'
            AND b.failed_reading IS NOT DISTINCT FROM s.reading_digest) IS NOT TRUE AS alive,
    b.scene_id IS NOT NULL AND CASE
        WHEN b.deleted_at IS NOT NULL THEN b.catalogued_etag IS NULL
        ELSE (b.permanent AND b.failed_etag = b.etag AND b.failed_stage = 'describe'
            AND b.failed_reading IS NOT DISTINCT FROM s.reading_digest) IS TRUE AND b.catalogued_etag IS NOT NULL
    END AS leaves_scene,
    b.error_remedy
FROM ledger.blob AS b
JOIN ledger.source AS s USING (source)
