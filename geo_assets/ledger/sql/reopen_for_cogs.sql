-- Items whose COG came or went await their turn again. One that is as its version and its rule have it says nothing
-- false meanwhile, and stays catalogued: the rule with ' but COGs' behind it is the mark of that.
UPDATE ledger.blob AS b
SET patch_revision = patch_revision + 1,
    catalogued_rule = CASE
        WHEN b.catalogued_etag = b.etag AND b.catalogued_rule IN (s.rule_digest, s.rule_digest || ' but COGs')
            THEN s.rule_digest || ' but COGs'
    END
FROM ledger.source AS s
WHERE s.source = %(source)s AND b.source = %(source)s AND b.name = ANY(%(names)s)
