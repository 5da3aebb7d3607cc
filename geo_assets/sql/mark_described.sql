UPDATE ledger.blob AS b
SET described_etag = d.etag,
    failed_etag = CASE WHEN b.failed_stage = 'describe' THEN NULL ELSE b.failed_etag END,
    run_id = %(run_id)s
FROM unnest(%(names)s::text[], %(etags)s::text[]) AS d (name, etag)
WHERE b.source = %(source)s AND b.name = d.name AND b.etag = d.etag
