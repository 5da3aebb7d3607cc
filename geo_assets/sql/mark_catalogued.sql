UPDATE ledger.blob AS b
SET catalogued_etag = c.etag,
    catalogued_rule = %(rule_digest)s,
    catalogued_at = clock_timestamp(),
    searchable_at = coalesce(b.searchable_at, clock_timestamp()),
    failed_etag = NULL,
    failed_rule = NULL,
    failed_stage = NULL,
    failed_at = NULL,
    error_code = NULL,
    error_message = NULL,
    permanent = false,
    attempts = 0,
    run_id = %(run_id)s
FROM unnest(%(names)s::text[], %(etags)s::text[]) AS c (name, etag)
WHERE b.source = %(source)s AND b.name = c.name AND b.etag = c.etag
