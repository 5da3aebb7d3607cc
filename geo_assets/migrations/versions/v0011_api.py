"""Jobs that were submitted to the API, and what was written to the catalogue through it."""

from alembic import op

revision = "0011"
down_revision = "0010"

# One row a job: its id is the SHA-256 of its type and parameters. The runs are Dagster's, the latest last; of each,
# Dagster knows how it stands, and state is what was last seen of that.
API_JOB = """
CREATE TABLE ledger.api_job (
    job_id text PRIMARY KEY CHECK (job_id ~ '^[0-9a-f]{64}$'),
    job_type text NOT NULL,
    parameters jsonb NOT NULL,
    state text NOT NULL,
    run_ids text[] NOT NULL DEFAULT '{}',
    submitted_by text NOT NULL,
    correlation_id text NOT NULL,
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

# Who wrote what through the API, in the transaction that wrote it.
API_WRITE = """
CREATE TABLE ledger.api_write (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written_by text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    collection_id text,
    item_id text,
    correlation_id text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


def upgrade() -> None:
    """Add both tables."""
    op.execute(API_JOB)
    op.execute(API_WRITE)


def downgrade() -> None:
    """Forget the jobs and the writes; what they made stays."""
    op.execute("DROP TABLE ledger.api_write")
    op.execute("DROP TABLE ledger.api_job")
