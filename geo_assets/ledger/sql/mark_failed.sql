UPDATE ledger.blob AS b
SET attempts = CASE WHEN b.failed_etag = %(etag)s THEN b.attempts + 1 ELSE 1 END,
    failed_etag = %(etag)s,
    failed_rule = %(rule_digest)s,
    failed_stage = %(stage)s,
    failed_reading = s.reading_digest,
    failed_at = clock_timestamp(),
    error_code = %(code)s,
    error_message = %(message)s,
    error_remedy = %(remedy)s,
    wanted_item_id = %(item_id)s,
    -- What is not known to be permanent, but may be tried so often only.
    permanent = %(permanent)s OR coalesce(
        b.failed_etag = %(etag)s AND b.error_code = %(code)s AND b.attempts + 1 >= %(max_attempts)s::int, false
    ),
    run_id = %(run_id)s
FROM ledger.source AS s
WHERE s.source = b.source AND b.source = %(source)s AND b.name = %(name)s AND b.etag = %(etag)s
