INSERT INTO ledger.source (
    source, url, collection_id, rule_digest, reading_digest, deletion_grace, required_assets, has_had_scenes
)
VALUES (
    %(source)s, %(url)s, %(collection_id)s, %(rule_digest)s, %(reading_digest)s, %(deletion_grace)s,
    %(required_assets)s, %(required_assets)s::text[] <> '{}'
)
ON CONFLICT (source) DO UPDATE
SET url = EXCLUDED.url,
    collection_id = EXCLUDED.collection_id,
    rule_digest = EXCLUDED.rule_digest,
    reading_digest = EXCLUDED.reading_digest,
    deletion_grace = EXCLUDED.deletion_grace,
    required_assets = EXCLUDED.required_assets,
    has_had_scenes = source.has_had_scenes OR EXCLUDED.has_had_scenes,
    updated_at = clock_timestamp()
WHERE (
    source.url, source.collection_id, source.rule_digest, source.reading_digest, source.deletion_grace,
    source.required_assets
) IS DISTINCT FROM (
    EXCLUDED.url, EXCLUDED.collection_id, EXCLUDED.rule_digest, EXCLUDED.reading_digest, EXCLUDED.deletion_grace,
    EXCLUDED.required_assets
)
