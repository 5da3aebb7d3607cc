"""Deletions that wait for a grace period or for consent, renames, and refusals that a new way of reading may solve."""

from alembic import op

revision = "0004"
down_revision = "0003"

GRACE = "ALTER TABLE ledger.source ADD COLUMN deletion_grace interval NOT NULL DEFAULT '0'"

# Whether the item of a gone blob awaits consent: NULL until a run has judged the deletion.
HELD = "ALTER TABLE ledger.blob ADD COLUMN deletion_held boolean"

# How blobs were read when one was refused for what was read.
FAILED_READING = "ALTER TABLE ledger.blob ADD COLUMN failed_reading text"
FAILED_READING_SO_FAR = """
UPDATE ledger.blob AS b SET failed_reading = s.reading_digest
FROM ledger.source AS s
WHERE s.source = b.source AND b.failed_stage = 'describe'
"""

# The few blobs that can have no item, without looking at all the others.
WITHOUT_ITEM = "CREATE INDEX blob_without_item ON ledger.blob (source) WHERE deleted_at IS NOT NULL OR permanent"

# One version of a blob that is the content of a gone one; the row goes with the blob's.
RENAME = """
CREATE TABLE ledger.rename (
    source text NOT NULL,
    new_name text COLLATE "C" NOT NULL,
    old_name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (source, new_name),
    FOREIGN KEY (source, new_name) REFERENCES ledger.blob ON DELETE CASCADE
)
"""
RENAME_BY_OLD_NAME = "CREATE INDEX rename_old_name ON ledger.rename (source, old_name)"

# The one place that says what a row's etags mean.
BLOB_STATE = """
CREATE VIEW ledger.blob_state AS
SELECT
    b.*,
    s.collection_id,
    s.rule_digest,
    CASE
        WHEN b.deleted_at IS NOT NULL THEN 'deleted'
        WHEN b.permanent AND b.failed_etag = b.etag
            AND CASE b.failed_stage
                WHEN 'describe' THEN b.failed_reading IS NOT DISTINCT FROM s.reading_digest
                ELSE b.failed_rule = s.rule_digest
            END THEN 'quarantined'
        WHEN b.described_etag IS DISTINCT FROM b.etag
            OR b.described_reading IS DISTINCT FROM s.reading_digest THEN 'to_describe'
        WHEN b.catalogued_etag IS DISTINCT FROM b.etag
            OR b.catalogued_rule IS DISTINCT FROM s.rule_digest THEN 'to_catalogue'
        ELSE 'catalogued'
    END AS state
FROM ledger.blob AS b
JOIN ledger.source AS s USING (source)
"""

# The one place that says which items go, and which of them wait and for what.
WITHDRAWAL = """
CREATE VIEW ledger.withdrawal AS
SELECT
    i.collection_id,
    i.item_id,
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
JOIN ledger.item AS i USING (source, name)
WHERE (b.deleted_at IS NOT NULL OR b.permanent) AND b.state IN ('deleted', 'quarantined')
"""

# As 0001 made it: 0003 goes down only where the view does not show its column.
BLOB_STATE_BEFORE = """
CREATE VIEW ledger.blob_state AS
SELECT
    b.source, b.name, b.etag, b.size_bytes, b.last_modified, b.content_type, b.md5, b.etag_seen_at,
    b.described_etag, b.described_reading, b.catalogued_etag, b.catalogued_rule, b.catalogued_at,
    b.failed_etag, b.failed_rule, b.failed_stage, b.failed_at, b.error_code, b.error_message, b.permanent, b.attempts,
    b.deleted_at, b.run_id,
    s.collection_id,
    s.rule_digest,
    CASE
        WHEN b.deleted_at IS NOT NULL THEN 'deleted'
        WHEN b.permanent AND b.failed_etag = b.etag
            AND (b.failed_stage = 'describe' OR b.failed_rule = s.rule_digest) THEN 'quarantined'
        WHEN b.described_etag IS DISTINCT FROM b.etag
            OR b.described_reading IS DISTINCT FROM s.reading_digest THEN 'to_describe'
        WHEN b.catalogued_etag IS DISTINCT FROM b.etag
            OR b.catalogued_rule IS DISTINCT FROM s.rule_digest THEN 'to_catalogue'
        ELSE 'catalogued'
    END AS state
FROM ledger.blob AS b
JOIN ledger.source AS s USING (source)
"""


def upgrade() -> None:
    """Add what deletions, renames and replays need; the view is rebuilt, since it shows the new columns."""
    op.execute("DROP VIEW ledger.blob_state")
    for statement in (
        GRACE,
        HELD,
        FAILED_READING,
        FAILED_READING_SO_FAR,
        WITHOUT_ITEM,
        RENAME,
        RENAME_BY_OLD_NAME,
        BLOB_STATE,
        WITHDRAWAL,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drop it again; items that wait are then withdrawn by the next run."""
    op.execute("DROP VIEW ledger.withdrawal")
    op.execute("DROP VIEW ledger.blob_state")
    op.execute("DROP TABLE ledger.rename")
    op.execute("DROP INDEX ledger.blob_without_item")
    for column in ("deletion_held", "failed_reading"):
        op.execute(f"ALTER TABLE ledger.blob DROP COLUMN {column}")
    op.execute("ALTER TABLE ledger.source DROP COLUMN deletion_grace")
    op.execute(BLOB_STATE_BEFORE)
