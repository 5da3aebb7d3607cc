"""Sources of which a listing has to see what was too much for the look that an event asked for."""

from alembic import op

revision = "0013"
down_revision = "0012"

# The database's time before that look. A whole listing that began later has seen it.
ASKED = "ALTER TABLE ledger.source ADD COLUMN listing_asked_at timestamptz"


def upgrade() -> None:
    """Add when one was asked for last."""
    op.execute(ASKED)


def downgrade() -> None:
    """Forget it: the next listing of each source sees all the same."""
    op.execute("ALTER TABLE ledger.source DROP COLUMN listing_asked_at")
