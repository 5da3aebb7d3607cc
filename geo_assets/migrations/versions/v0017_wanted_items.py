"""The item id that a blob was refused for wanting, so that it tries again when that one becomes free."""

from alembic import op

revision = "0017"
down_revision = "0016"

# NULL for refusals of earlier releases, which any id of the collection that becomes free opens again.
WANTED = "ALTER TABLE ledger.blob ADD COLUMN wanted_item_id text"


def upgrade() -> None:
    """Add the column."""
    op.execute(WANTED)


def downgrade() -> None:
    """Drop it; any id that becomes free then opens all such refusals again."""
    op.execute("ALTER TABLE ledger.blob DROP COLUMN wanted_item_id")
