SELECT layer, table_schema, table_name, mode, etag FROM ledger.vector_table WHERE source = %(source)s AND name = %(name)s
