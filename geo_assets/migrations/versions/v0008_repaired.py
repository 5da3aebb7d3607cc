"""How much a listing found that events should have told before it."""

from alembic import op

revision = "0008"
down_revision = "0007"

LISTING = "ALTER TABLE ledger.listing ADD COLUMN repaired bigint NOT NULL DEFAULT 0"


def upgrade() -> None:
    """Add the count to listings; earlier ones counted none."""
    op.execute(LISTING)


def downgrade() -> None:
    """Drop it again."""
    op.execute("ALTER TABLE ledger.listing DROP COLUMN repaired")
