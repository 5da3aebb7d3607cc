SELECT name_in_place, source, name FROM ledger.silver_file
WHERE place = %(place)s AND name_in_place = ANY(%(names_in_place)s) AND (source, name) <> (%(source)s, %(name)s)
ORDER BY name_in_place
LIMIT 1
