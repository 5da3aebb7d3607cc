DELETE FROM ledger.source_trouble WHERE source = %(source)s
