DELETE FROM ledger.vector_table WHERE source = %(source)s AND name = %(name)s
RETURNING table_schema, table_name, mode
