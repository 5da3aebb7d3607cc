-- Files that nothing needs any more: a run died before it recorded them, or their COG went or lies elsewhere now.
CREATE OR REPLACE VIEW ledger.orphaned_file AS
SELECT f.place, f.name_in_place, f.source, f.name, f.kept, f.announced_at, f.run_id
FROM ledger.silver_file AS f
WHERE NOT f.kept
    AND NOT EXISTS (
        SELECT FROM ledger.cog AS c
        WHERE c.source = f.source AND c.name = f.name AND c.place = f.place
            AND f.name_in_place IN (c.name_in_place, c.thumbnail_name)
    )
