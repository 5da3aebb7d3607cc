SELECT r.new_name, r.old_name
FROM ledger.rename AS r
JOIN ledger.blob AS b ON b.source = r.source AND b.name = r.new_name AND b.etag = r.etag
WHERE r.source = %(source)s AND r.new_name = ANY(%(names)s)
