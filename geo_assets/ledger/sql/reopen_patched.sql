-- Items whose patch changed await their turn again, with what was refused for a patch or for want of one.
UPDATE ledger.blob
SET patch_revision = patch_revision + 1,
    catalogued_rule = NULL,
    failed_etag = CASE WHEN failed_stage = 'catalogue' THEN NULL ELSE failed_etag END,
    permanent = permanent AND failed_stage IS DISTINCT FROM 'catalogue'
WHERE source = %(source)s AND (name = ANY(%(names)s) OR scene_id = ANY(%(names)s))
