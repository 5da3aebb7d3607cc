"""Scenes: the blobs that make one item together, the assets it needs, and what its JSON members say."""

from alembic import op

from geo_assets.migrations.versions import v0004_deletions

revision = "0005"
down_revision = "0004"

# What a blob's name says by the source's group rule; grouped_by is the digest of the rule that was applied.
SOURCE = """
ALTER TABLE ledger.source
    ADD COLUMN required_assets text[] NOT NULL DEFAULT '{}',
    ADD COLUMN has_had_scenes boolean NOT NULL DEFAULT false
"""
BLOB = """
ALTER TABLE ledger.blob
    ADD COLUMN scene_id text COLLATE "C",
    ADD COLUMN asset_key text,
    ADD COLUMN member_kind text NOT NULL DEFAULT 'raster' CHECK (member_kind IN ('raster', 'document', 'other')),
    ADD COLUMN grouped_by text
"""
BLOB_SCENE = "CREATE INDEX blob_scene ON ledger.blob (source, scene_id) WHERE scene_id IS NOT NULL"

SCENE_DOCUMENT = """
CREATE TABLE ledger.scene_document (
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    content jsonb NOT NULL,
    run_id text,
    PRIMARY KEY (source, name)
)
"""

# A version that could not be read. What stops a whole scene fails in the stage catalogue, and a change of any of its
# members is a new chance for all of them.
UNREADABLE = (
    "({b}.permanent AND {b}.failed_etag = {b}.etag AND {b}.failed_stage = 'describe'"
    " AND {b}.failed_reading IS NOT DISTINCT FROM s.reading_digest)"
)
UNDESCRIBED = (
    "({b}.member_kind <> 'other' AND ({b}.described_etag IS DISTINCT FROM {b}.etag"
    " OR {b}.described_reading IS DISTINCT FROM s.reading_digest))"
)


def _ready(blob: str) -> str:
    """Whether a row can be part of its scene's item."""
    unreadable, undescribed = (condition.format(b=blob) for condition in (UNREADABLE, UNDESCRIBED))
    return f"({blob}.deleted_at IS NULL AND {unreadable} IS NOT TRUE AND NOT {undescribed})"


# The one place that says what a row's etags mean. Only a row that would be catalogued next looks at its scene.
# alive: it can be, become, or still is part of its scene's item; leaves_scene: it is no part of it any more, and the
# others have not heard yet. One that is gone from under an item leaves when ledger.withdrawal says so.
BLOB_STATE = f"""
CREATE VIEW ledger.blob_state AS
SELECT
    b.*,
    s.collection_id,
    s.rule_digest,
    s.required_assets,
    CASE
        WHEN b.deleted_at IS NOT NULL THEN 'deleted'
        WHEN b.permanent AND b.failed_etag = b.etag
            AND CASE b.failed_stage
                WHEN 'describe' THEN b.failed_reading IS NOT DISTINCT FROM s.reading_digest
                ELSE b.failed_rule = s.rule_digest
            END THEN 'quarantined'
        WHEN {UNDESCRIBED.format(b="b")} THEN 'to_describe'
        WHEN b.catalogued_etag IS NOT DISTINCT FROM b.etag
            AND b.catalogued_rule IS NOT DISTINCT FROM s.rule_digest THEN 'catalogued'
        WHEN b.scene_id IS NOT NULL AND EXISTS (
            SELECT FROM unnest(s.required_assets) AS r (asset_key)
            WHERE NOT EXISTS (
                SELECT FROM ledger.blob AS m
                WHERE m.source = b.source AND m.scene_id = b.scene_id AND m.asset_key = r.asset_key AND {_ready("m")}
            )
        ) THEN 'waiting'
        ELSE 'to_catalogue'
    END AS state,
    {_ready("b")} AS ready,
    (b.deleted_at IS NULL OR b.catalogued_etag IS NOT NULL) AND {UNREADABLE.format(b="b")} IS NOT TRUE AS alive,
    b.scene_id IS NOT NULL AND CASE
        WHEN b.deleted_at IS NOT NULL THEN b.catalogued_etag IS NULL
        ELSE {UNREADABLE.format(b="b")} IS TRUE AND b.catalogued_etag IS NOT NULL
    END AS leaves_scene
FROM ledger.blob AS b
JOIN ledger.source AS s USING (source)
"""

# The one place that says which items go or shrink, and which of them wait and for what; a scene's claim is that of its
# members.
WITHDRAWAL = """
CREATE VIEW ledger.withdrawal AS
SELECT
    i.collection_id,
    i.item_id,
    i.name AS owner,
    b.source,
    b.name,
    b.etag,
    b.deleted_at,
    CASE
        WHEN b.state = 'quarantined' THEN 'refused'
        WHEN EXISTS (
            SELECT FROM ledger.rename AS r
            WHERE r.source = b.source AND r.old_name = b.name AND r.recorded_at >= b.deleted_at
        ) THEN 'renamed'
        WHEN b.deletion_held THEN 'held'
        WHEN b.deleted_at > clock_timestamp() - s.deletion_grace THEN 'in_grace'
        WHEN b.deletion_held IS NULL THEN 'unjudged'
        ELSE 'gone'
    END AS reason
FROM ledger.blob_state AS b
JOIN ledger.source AS s USING (source)
JOIN ledger.item AS i ON i.source = b.source AND i.name = coalesce(b.scene_id, b.name)
WHERE (b.deleted_at IS NOT NULL OR b.permanent) AND b.state IN ('deleted', 'quarantined')
    AND (b.scene_id IS NULL OR b.catalogued_etag IS NOT NULL)
"""


def upgrade() -> None:
    """Add the columns and the table of scenes, and rebuild the views."""
    op.execute("DROP VIEW ledger.withdrawal")
    op.execute("DROP VIEW ledger.blob_state")
    for statement in (SOURCE, BLOB, BLOB_SCENE, SCENE_DOCUMENT, BLOB_STATE, WITHDRAWAL):
        op.execute(statement)


def downgrade() -> None:
    """Drop them again; the views are again as 0004 made them."""
    op.execute("DROP VIEW ledger.withdrawal")
    op.execute("DROP VIEW ledger.blob_state")
    op.execute("DROP TABLE ledger.scene_document")
    op.execute("DROP INDEX ledger.blob_scene")
    for column in ("scene_id", "asset_key", "member_kind", "grouped_by"):
        op.execute(f"ALTER TABLE ledger.blob DROP COLUMN {column}")
    op.execute("ALTER TABLE ledger.source DROP COLUMN required_assets, DROP COLUMN has_had_scenes")
    op.execute(v0004_deletions.BLOB_STATE)
    op.execute(v0004_deletions.WITHDRAWAL)
