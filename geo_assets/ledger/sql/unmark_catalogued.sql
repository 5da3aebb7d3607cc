-- Blobs by their name, and all members of a scene by its id, which is the name of the scene's claim.
UPDATE ledger.blob SET catalogued_etag = NULL, catalogued_rule = NULL, catalogued_at = NULL
WHERE source = %(source)s AND (name = ANY(%(names)s) OR scene_id = ANY(%(names)s))
