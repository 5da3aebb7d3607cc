-- What was read anew, for a new version or by a new way of reading, is catalogued anew.
UPDATE ledger.blob AS b
SET described_etag = d.etag,
    described_reading = s.reading_digest,
    catalogued_rule = NULL,
    failed_etag = CASE WHEN b.failed_stage = 'describe' THEN NULL ELSE b.failed_etag END,
    run_id = %(run_id)s
FROM unnest(%(names)s::text[], %(etags)s::text[]) AS d (name, etag), ledger.source AS s
WHERE b.source = %(source)s AND s.source = b.source AND b.name = d.name AND b.etag = d.etag
