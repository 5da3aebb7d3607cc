-- Unless another sensor asked since the request of %(previous_at)s was read; NULL where there was none.
INSERT INTO ledger.run_request AS r (source, sensor, run_key, digest, attempt, at)
VALUES (%(source)s, %(sensor)s, %(run_key)s, %(digest)s, %(attempt)s, %(at)s)
ON CONFLICT (source) DO UPDATE
SET sensor = EXCLUDED.sensor,
    run_key = EXCLUDED.run_key,
    digest = EXCLUDED.digest,
    attempt = EXCLUDED.attempt,
    at = EXCLUDED.at
WHERE r.at = %(previous_at)s
RETURNING r.source
