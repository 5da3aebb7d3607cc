-- All that belongs to these blobs and scenes, but what the new source has of its own.
WITH metadata AS (
    UPDATE ledger.raster_metadata AS m SET source = %(source)s
    FROM handed_over AS h
    WHERE m.source = %(former)s AND m.name = h.name
        AND NOT EXISTS (SELECT FROM ledger.raster_metadata AS n WHERE n.source = %(source)s AND n.name = m.name)
),
documents AS (
    UPDATE ledger.scene_document AS d SET source = %(source)s
    FROM handed_over AS h
    WHERE d.source = %(former)s AND d.name = h.name
        AND NOT EXISTS (SELECT FROM ledger.scene_document AS n WHERE n.source = %(source)s AND n.name = d.name)
),
renames AS (
    UPDATE ledger.rename AS r SET source = %(source)s
    FROM handed_over AS h
    WHERE r.source = %(former)s AND r.new_name = h.name AND NOT h.is_scene
        AND NOT EXISTS (SELECT FROM ledger.rename AS n WHERE n.source = %(source)s AND n.new_name = r.new_name)
),
patches AS (
    UPDATE ledger.item_patch AS p SET source = %(source)s
    FROM handed_over AS h
    WHERE p.source = %(former)s AND p.name = h.name
        AND NOT EXISTS (SELECT FROM ledger.item_patch AS n WHERE n.source = %(source)s AND n.name = p.name)
),
cogs AS (
    UPDATE ledger.cog AS c SET source = %(source)s
    FROM handed_over AS h
    WHERE c.source = %(former)s AND c.name = h.name
        AND NOT EXISTS (SELECT FROM ledger.cog AS n WHERE n.source = %(source)s AND n.name = c.name)
    RETURNING c.name
),
files AS (
    UPDATE ledger.silver_file AS f SET source = %(source)s
    FROM cogs AS c
    WHERE f.source = %(former)s AND f.name = c.name
),
tables AS (
    UPDATE ledger.vector_table AS t SET source = %(source)s
    FROM handed_over AS h
    WHERE t.source = %(former)s AND t.name = h.name
        AND NOT EXISTS (SELECT FROM ledger.vector_table AS n WHERE n.source = %(source)s AND n.name = t.name)
),
attempts AS (
    UPDATE ledger.failed_attempt AS a SET source = %(source)s
    FROM handed_over AS h
    WHERE a.source = %(former)s AND a.name = h.name
)
UPDATE ledger.item AS i SET source = %(source)s
FROM handed_over AS h
WHERE i.source = %(former)s AND i.name = h.name
