-- All files that the ledger knows of a source.
SELECT place, name_in_place, source, name, kept, announced_at FROM ledger.silver_file WHERE source = %(source)s
