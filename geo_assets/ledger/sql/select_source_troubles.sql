SELECT source, since, times, until, code, message, remedy FROM ledger.source_trouble
