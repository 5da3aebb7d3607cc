"""Sources that could not be looked at: since when, why, and when they are looked at again."""

from alembic import op

revision = "0014"
down_revision = "0013"

# One row a source in trouble, gone once it could be looked at.
SOURCE_TROUBLE = """
CREATE TABLE ledger.source_trouble (
    source text PRIMARY KEY REFERENCES ledger.source ON DELETE CASCADE,
    since timestamptz NOT NULL,
    times integer NOT NULL CHECK (times > 0),
    until timestamptz NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    remedy text NOT NULL
)
"""


def upgrade() -> None:
    """Add the table."""
    op.execute(SOURCE_TROUBLE)


def downgrade() -> None:
    """Forget the troubles."""
    op.execute("DROP TABLE ledger.source_trouble")
