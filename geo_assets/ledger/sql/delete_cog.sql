DELETE FROM ledger.cog WHERE source = %(source)s AND name = %(name)s
