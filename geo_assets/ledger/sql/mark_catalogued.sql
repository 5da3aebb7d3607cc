-- Of the version and with the patch that the item was built of; what changed meanwhile is catalogued again.
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
    error_remedy = NULL,
    permanent = false,
    attempts = 0,
    run_id = %(run_id)s
FROM unnest(%(names)s::text[], %(etags)s::text[], %(patch_revisions)s::integer[]) AS c (name, etag, patch_revision)
WHERE b.source = %(source)s AND b.name = c.name AND b.etag = c.etag AND b.patch_revision = c.patch_revision
