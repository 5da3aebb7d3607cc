INSERT INTO ledger.source (source, url, collection_id, rule_digest, reading_digest, deletion_grace)
VALUES (%(source)s, %(url)s, %(collection_id)s, %(rule_digest)s, %(reading_digest)s, %(deletion_grace)s)
ON CONFLICT (source) DO UPDATE
SET url = EXCLUDED.url,
    collection_id = EXCLUDED.collection_id,
    rule_digest = EXCLUDED.rule_digest,
    reading_digest = EXCLUDED.reading_digest,
    deletion_grace = EXCLUDED.deletion_grace,
    updated_at = clock_timestamp()
WHERE (source.url, source.collection_id, source.rule_digest, source.reading_digest, source.deletion_grace)
    IS DISTINCT FROM
    (EXCLUDED.url, EXCLUDED.collection_id, EXCLUDED.rule_digest, EXCLUDED.reading_digest, EXCLUDED.deletion_grace)
