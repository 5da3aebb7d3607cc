-- Vector files with a table that is gone: it is loaded anew, not only its item made.
UPDATE ledger.blob AS b SET described_etag = NULL
WHERE b.source = %(source)s AND b.name = ANY(%(names)s)
    AND EXISTS (
        SELECT FROM ledger.vector_table AS t
        WHERE t.source = b.source AND t.name = b.name
            AND to_regclass(format('%%I.%%I', t.table_schema, t.table_name)) IS NULL
    )
