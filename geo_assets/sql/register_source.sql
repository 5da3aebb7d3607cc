INSERT INTO ledger.source (source, url, collection_id, rule_digest, reading_digest, required_assets)
VALUES (%(source)s, %(url)s, %(collection_id)s, %(rule_digest)s, %(reading_digest)s, %(required_assets)s)
ON CONFLICT (source) DO UPDATE
SET url = EXCLUDED.url,
    collection_id = EXCLUDED.collection_id,
    rule_digest = EXCLUDED.rule_digest,
    reading_digest = EXCLUDED.reading_digest,
    required_assets = EXCLUDED.required_assets,
    updated_at = clock_timestamp()
WHERE (source.url, source.collection_id, source.rule_digest, source.reading_digest, source.required_assets)
    IS DISTINCT FROM
    (EXCLUDED.url, EXCLUDED.collection_id, EXCLUDED.rule_digest, EXCLUDED.reading_digest, EXCLUDED.required_assets)
