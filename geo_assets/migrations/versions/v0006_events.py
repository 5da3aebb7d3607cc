"""Who saw a blob's version first and when it became searchable, what the queues brought, and messages set aside."""

from alembic import op

from geo_assets.migrations.versions import v0005_scenes

revision = "0006"
down_revision = "0005"

# Of the version that `etag` names: which path saw it first, when it came to be (the event's time, or the blob's
# Last-Modified where a listing saw it), under which correlation id, and when its item could first be found.
# `sequencer` is the newest of all the blob's events, of its deletion too. `looked_at` is when the look at the store
# began by which the row is as it is: an older look that ends later does not undo it.
BLOB = """
ALTER TABLE ledger.blob
    ADD COLUMN observed_by text NOT NULL DEFAULT 'listing'
        CHECK (observed_by IN ('listing', 'storage_queue', 'service_bus')),
    ADD COLUMN event_time timestamptz,
    ADD COLUMN correlation_id text,
    ADD COLUMN sequencer text,
    ADD COLUMN searchable_at timestamptz,
    ADD COLUMN looked_at timestamptz NOT NULL DEFAULT clock_timestamp()
"""

# One row a batch of messages that was received and settled: what the paths are compared by.
RECEIVED_BATCH = """
CREATE TABLE ledger.received_batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path text NOT NULL CHECK (path IN ('storage_queue', 'service_bus')),
    queue text NOT NULL,
    received_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    messages integer NOT NULL,
    events integer NOT NULL,
    new integer NOT NULL,
    changed integer NOT NULL,
    deleted integer NOT NULL,
    unchanged integer NOT NULL,
    dropped jsonb NOT NULL DEFAULT '{}',
    redelivered integer NOT NULL,
    abandoned integer NOT NULL,
    poisoned integer NOT NULL
)
"""
RECEIVED_BATCH_BY_TIME = "CREATE INDEX received_batch_received_at ON ledger.received_batch (received_at)"

# One row a message that was given up: where it went and why. The whole message lies in the dead-letter queue, under the
# id that it has there.
MESSAGE = """
CREATE TABLE ledger.message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path text NOT NULL CHECK (path IN ('storage_queue', 'service_bus')),
    queue text NOT NULL,
    message_id text NOT NULL,
    correlation_id text,
    delivery_count integer NOT NULL,
    enqueued_at timestamptz,
    error_code text NOT NULL,
    error_message text NOT NULL,
    body_start text NOT NULL,
    dead_letter_id text,
    state text NOT NULL DEFAULT 'to_dead_letter'
        CHECK (state IN ('to_dead_letter', 'dead_letter', 'replayed', 'dropped')),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (path, queue, message_id)
)
"""


def _replace_views(*statements: str) -> None:
    """Change `ledger.blob` while the views are dropped, since they show its columns."""
    op.execute("DROP VIEW ledger.withdrawal")
    op.execute("DROP VIEW ledger.blob_state")
    for statement in (*statements, v0005_scenes.BLOB_STATE, v0005_scenes.WITHDRAWAL):
        op.execute(statement)


def upgrade() -> None:
    """Add what events leave in the ledger."""
    _replace_views(BLOB, RECEIVED_BATCH, RECEIVED_BATCH_BY_TIME, MESSAGE)


def downgrade() -> None:
    """Drop it again; a listing finds what events told."""
    for table in ("message", "received_batch"):
        op.execute(f"DROP TABLE ledger.{table}")
    columns = ("observed_by", "event_time", "correlation_id", "sequencer", "searchable_at", "looked_at")
    _replace_views(f"ALTER TABLE ledger.blob {', '.join(f'DROP COLUMN {column}' for column in columns)}")
