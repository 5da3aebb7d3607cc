-- The COG of an earlier version, where the present one can have none: no item tells of it.
UPDATE ledger.cog
SET etag = NULL, rule_digest = NULL, is_linked = false, place = NULL, name_in_place = NULL, href = NULL,
    thumbnail_name = NULL, thumbnail_href = NULL, size_bytes = NULL, original_bytes = NULL, facts = NULL,
    seconds = NULL, made_at = NULL
WHERE source = %(source)s AND name = %(name)s AND permanent AND etag IS DISTINCT FROM failed_etag
