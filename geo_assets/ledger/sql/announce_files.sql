-- The files that are about to be published, of one raster. A file that another raster's COG has is not taken from it,
-- nor is one that is kept.
INSERT INTO ledger.silver_file AS f (place, name_in_place, source, name, run_id)
SELECT %(place)s, n.name_in_place, %(source)s, %(name)s, %(run_id)s
FROM unnest(%(names_in_place)s::text[]) AS n (name_in_place)
ON CONFLICT (place, name_in_place) DO UPDATE
SET source = excluded.source,
    name = excluded.name,
    kept = false,
    announced_at = clock_timestamp(),
    run_id = excluded.run_id
WHERE (f.source, f.name) = (excluded.source, excluded.name)
    OR EXISTS (
        SELECT FROM ledger.orphaned_file AS o WHERE o.place = f.place AND o.name_in_place = f.name_in_place
    )
RETURNING name_in_place
