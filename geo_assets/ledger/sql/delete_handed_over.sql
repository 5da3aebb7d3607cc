DELETE FROM ledger.blob AS o
USING handed_over AS h
WHERE o.source = %(former)s AND o.name = h.name
