-- Metadata that the new source has of an older version only give way to those of the former source.
DELETE FROM ledger.raster_metadata AS m
USING ledger.blob AS b, handed_over AS h
WHERE m.source = %(source)s AND m.name = h.name AND b.source = m.source AND b.name = m.name
    AND b.described_etag IS DISTINCT FROM b.etag
