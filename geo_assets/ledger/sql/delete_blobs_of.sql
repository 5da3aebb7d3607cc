-- What the ledger has of the blobs of a source; files of COGs are then without one (see `geo-assets cogs SOURCE --orphans`).
WITH metadata AS (DELETE FROM ledger.raster_metadata WHERE source = %(source)s),
documents AS (DELETE FROM ledger.scene_document WHERE source = %(source)s),
patches AS (DELETE FROM ledger.item_patch WHERE source = %(source)s),
cogs AS (DELETE FROM ledger.cog WHERE source = %(source)s)
DELETE FROM ledger.blob WHERE source = %(source)s
