"""CQL2, the language that filters are written in: its text, and the expressions that are let through.

Here: reading a filter, without any database. Not here: SQL (`api.table_filters`; /stac hands the expression to PgSTAC).
"""
