-- The names whose patch this changes.
INSERT INTO ledger.item_patch AS p (source, name, patch)
SELECT %(source)s, t.name, t.patch
FROM unnest(%(names)s::text[], %(patches)s::jsonb[]) AS t (name, patch)
ON CONFLICT (source, name) DO UPDATE
SET patch = EXCLUDED.patch, patched_at = clock_timestamp()
WHERE p.patch <> EXCLUDED.patch
RETURNING p.name
