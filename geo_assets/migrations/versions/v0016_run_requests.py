"""The run that a sensor last asked for on behalf of a source, for all sensors to see."""

from alembic import op

revision = "0016"
down_revision = "0015"

# One row a source. Dagster's run keys keep one sensor from asking twice, not two sensors from asking once each.
RUN_REQUEST = """
CREATE TABLE ledger.run_request (
    source text PRIMARY KEY REFERENCES ledger.source ON DELETE CASCADE,
    sensor text NOT NULL,
    run_key text NOT NULL,
    digest text NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    at timestamptz NOT NULL
)
"""


def upgrade() -> None:
    """Add the table."""
    op.execute(RUN_REQUEST)


def downgrade() -> None:
    """Forget the requests; each sensor then knows its own only."""
    op.execute("DROP TABLE ledger.run_request")
