-- Which scene each blob belongs to, as which asset; NULL where the rule does not match its name.
UPDATE ledger.blob AS b
SET scene_id = c.scene_id,
    asset_key = c.asset_key,
    member_kind = c.member_kind,
    grouped_by = %(rule_digest)s
FROM unnest(%(names)s::text[], %(scene_ids)s::text[], %(asset_keys)s::text[], %(member_kinds)s::text[])
    AS c (name, scene_id, asset_key, member_kind)
WHERE b.source = %(source)s AND b.name = c.name
