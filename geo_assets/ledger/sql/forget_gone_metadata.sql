-- After renames were looked for: nobody asks for what was read of a gone blob.
DELETE FROM ledger.raster_metadata AS m USING ledger.blob AS b
WHERE m.source = b.source AND m.name = b.name
    AND b.source = %(source)s AND b.deleted_at IS NOT NULL
