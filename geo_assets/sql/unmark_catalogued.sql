UPDATE ledger.blob SET catalogued_etag = NULL, catalogued_rule = NULL, catalogued_at = NULL
WHERE source = %(source)s AND name = ANY(%(names)s)
