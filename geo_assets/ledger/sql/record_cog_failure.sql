INSERT INTO ledger.cog AS c (
    source, name, failed_etag, failed_rule, failed_at, error_code, error_message, error_remedy, permanent,
    attempts, run_id
) VALUES (
    %(source)s, %(name)s, %(etag)s, %(rule_digest)s, clock_timestamp(), %(code)s, %(message)s, %(remedy)s,
    %(permanent)s, 1, %(run_id)s
)
ON CONFLICT (source, name) DO UPDATE
SET failed_etag = excluded.failed_etag,
    failed_rule = excluded.failed_rule,
    failed_at = excluded.failed_at,
    error_code = excluded.error_code,
    error_message = excluded.error_message,
    error_remedy = excluded.error_remedy,
    -- What is not known to be permanent, but may be tried so often only.
    permanent = excluded.permanent OR coalesce(
        c.failed_etag = excluded.failed_etag AND c.failed_rule = excluded.failed_rule
            AND c.error_code = excluded.error_code AND c.attempts + 1 >= %(max_attempts)s::int,
        false
    ),
    attempts = CASE
        WHEN c.failed_etag = excluded.failed_etag AND c.failed_rule = excluded.failed_rule THEN c.attempts + 1
        ELSE 1
    END,
    run_id = excluded.run_id
