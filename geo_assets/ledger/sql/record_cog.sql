INSERT INTO ledger.cog AS c (
    source, name, etag, rule_digest, is_linked, place, name_in_place, href, thumbnail_name, thumbnail_href, size_bytes,
    original_bytes, facts, seconds, made_at, run_id
) VALUES (
    %(source)s, %(name)s, %(etag)s, %(rule_digest)s, %(is_linked)s, %(place)s, %(name_in_place)s, %(href)s,
    %(thumbnail_name)s, %(thumbnail_href)s, %(size_bytes)s, %(original_bytes)s, %(facts)s, %(seconds)s,
    clock_timestamp(), %(run_id)s
)
ON CONFLICT (source, name) DO UPDATE
SET etag = excluded.etag,
    rule_digest = excluded.rule_digest,
    is_linked = excluded.is_linked,
    place = excluded.place,
    name_in_place = excluded.name_in_place,
    href = excluded.href,
    thumbnail_name = excluded.thumbnail_name,
    thumbnail_href = excluded.thumbnail_href,
    size_bytes = excluded.size_bytes,
    original_bytes = excluded.original_bytes,
    facts = excluded.facts,
    seconds = excluded.seconds,
    made_at = excluded.made_at,
    run_id = excluded.run_id,
    failed_etag = NULL,
    failed_rule = NULL,
    failed_at = NULL,
    error_code = NULL,
    error_message = NULL,
    error_remedy = NULL,
    permanent = false,
    attempts = 0
