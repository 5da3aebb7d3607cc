-- What a person did with a message set aside; one that was given up anew since they looked stays as it is.
UPDATE ledger.message SET state = %(state)s, changed_at = clock_timestamp()
WHERE id = %(record)s AND changed_at = %(changed_at)s
RETURNING id
