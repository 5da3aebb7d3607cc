-- Items whose COG came or went await their turn again.
UPDATE ledger.blob
SET patch_revision = patch_revision + 1, catalogued_rule = NULL
WHERE source = %(source)s AND name = ANY(%(names)s)
