-- What there is since the first migration: a backup is taken before the others are applied.
SELECT
    (SELECT count(*) FROM pgstac.items) AS items,
    (SELECT count(*) FROM pgstac.collections) AS collections,
    (SELECT count(*) FROM ledger.blob) AS blobs
