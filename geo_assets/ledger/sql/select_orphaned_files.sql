SELECT place, name_in_place, source, name, kept, announced_at
FROM ledger.orphaned_file
WHERE %(source)s::text IS NULL OR source = %(source)s
ORDER BY place, name_in_place
