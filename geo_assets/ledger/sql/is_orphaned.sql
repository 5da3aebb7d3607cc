SELECT FROM ledger.orphaned_file WHERE place = %(place)s AND name_in_place = %(name_in_place)s
