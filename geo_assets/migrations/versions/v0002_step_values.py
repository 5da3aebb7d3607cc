"""The values that travel between the steps of a run, where every host of a run finds them."""

from alembic import op

revision = "0002"
down_revision = "0001"

STEP_VALUE = """
CREATE TABLE ledger.step_value (
    run_id text NOT NULL,
    step_key text NOT NULL,
    output text NOT NULL,
    mapping_key text NOT NULL DEFAULT '',
    value jsonb NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, step_key, output, mapping_key)
)
"""


def upgrade() -> None:
    """Create the table; its grants come with `CatalogueSchema.grant_roles`."""
    op.execute(STEP_VALUE)


def downgrade() -> None:
    """Drop it again."""
    op.execute("DROP TABLE ledger.step_value")
