-- Nothing of it is left; its collection belongs to no source then, unless to others.
WITH listings AS (DELETE FROM ledger.listing WHERE source = %(source)s)
DELETE FROM ledger.source AS s
WHERE s.source = %(source)s AND NOT EXISTS (SELECT FROM ledger.vector_table AS t WHERE t.source = s.source)
