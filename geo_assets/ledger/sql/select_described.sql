-- The metadata of a source's live rasters, the latest described first.
SELECT metadata::text AS metadata
FROM ledger.raster_metadata
WHERE source = %(source)s
ORDER BY described_at DESC, name
LIMIT %(most)s
