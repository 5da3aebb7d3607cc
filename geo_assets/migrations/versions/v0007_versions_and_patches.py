"""What a blob was before, and what people state of single items."""

from alembic import op

revision = "0007"
down_revision = "0006"

# versions_seen: 1 at first, one more with each other etag that follows, also after a deletion; previous_etag is that of
# the version before. patch_revision: one more with each change of the item's patch, so that an item built with an older
# one is not taken for done.
BLOB = """
ALTER TABLE ledger.blob
    ADD COLUMN versions_seen integer NOT NULL DEFAULT 1,
    ADD COLUMN previous_etag text,
    ADD COLUMN patch_revision integer NOT NULL DEFAULT 0
"""

# One row an item that somebody patched, by the name of its blob or the id of its scene: a JSON merge patch (RFC 7396)
# of its properties. It outlives the blob, as what is stated in sources.yaml does.
ITEM_PATCH = """
CREATE TABLE ledger.item_patch (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    patch jsonb NOT NULL CHECK (jsonb_typeof(patch) = 'object'),
    patched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, name)
)
"""


def upgrade() -> None:
    """Add the columns and the table."""
    op.execute(BLOB)
    op.execute(ITEM_PATCH)


def downgrade() -> None:
    """Drop them again; items keep what was patched until they are rebuilt."""
    op.execute("DROP TABLE ledger.item_patch")
    op.execute(
        "ALTER TABLE ledger.blob DROP COLUMN versions_seen, DROP COLUMN previous_etag, DROP COLUMN patch_revision"
    )
