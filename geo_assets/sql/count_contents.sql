SELECT
    (SELECT count(*) FROM pgstac.items) AS items,
    (SELECT count(*) FROM pgstac.collections) AS collections,
    (SELECT count(*) FROM ledger.blob) AS blobs,
    (SELECT count(*) FROM ledger.vector_table) AS tables
