UPDATE ledger.blob SET catalogued_etag = NULL, catalogued_rule = NULL, catalogued_at = NULL
WHERE source = %(source)s AND scene_id = ANY(%(scene_ids)s) AND catalogued_etag IS NOT NULL
