SELECT count(*) AS blobs FROM ledger.blob WHERE source = %(source)s AND catalogued_at >= %(since)s
