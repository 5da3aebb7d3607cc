SELECT layer, table_schema, table_name, mode FROM ledger.vector_table WHERE source = %(source)s AND name = %(name)s
