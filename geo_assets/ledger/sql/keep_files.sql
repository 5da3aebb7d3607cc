-- The files of a COG that is to be forgotten, and that stay.
UPDATE ledger.silver_file AS f SET kept = true
FROM ledger.cog AS c
WHERE c.source = %(source)s AND c.name = %(name)s AND c.place = f.place
    AND f.source = c.source AND f.name = c.name AND f.name_in_place IN (c.name_in_place, c.thumbnail_name)
