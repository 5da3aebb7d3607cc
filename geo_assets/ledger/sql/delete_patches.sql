-- Of these names, of the items with these ids, or (without either) all of the source.
DELETE FROM ledger.item_patch AS p
WHERE p.source = %(source)s
    AND (
        %(names)s::text[] IS NULL
        OR p.name = ANY(%(names)s)
        OR p.name IN (SELECT name FROM ledger.item WHERE source = %(source)s AND item_id = ANY(%(names)s))
    )
RETURNING p.name
