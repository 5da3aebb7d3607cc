-- The COGs of a source and what was refused one, the latest first.
SELECT
    name, etag, is_linked, place, name_in_place, href, thumbnail_href, size_bytes, original_bytes, facts::text AS facts,
    seconds, made_at, error_code, error_message, error_remedy, permanent, attempts
FROM ledger.cog
WHERE source = %(source)s
ORDER BY coalesce(made_at, failed_at) DESC, name
LIMIT %(most)s
