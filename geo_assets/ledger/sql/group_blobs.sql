-- Which scene each blob belongs to, as which asset; NULL where the rule does not match its name. A blob that is read
-- in another way than before has not been read, and nothing has failed.
UPDATE ledger.blob AS b
SET scene_id = c.scene_id,
    asset_key = c.asset_key,
    member_kind = c.member_kind,
    grouped_by = %(rule_digest)s,
    described_etag = CASE WHEN b.member_kind = c.member_kind THEN b.described_etag END,
    failed_etag = CASE WHEN b.member_kind = c.member_kind OR b.failed_stage = 'catalogue' THEN b.failed_etag END
FROM unnest(%(names)s::text[], %(scene_ids)s::text[], %(asset_keys)s::text[], %(member_kinds)s::text[])
    AS c (name, scene_id, asset_key, member_kind)
WHERE b.source = %(source)s AND b.name = c.name
