"""The ledger: one row a blob, whose three etags are its state."""

from alembic import op

revision = "0001"
down_revision = None

SOURCE = """
CREATE TABLE ledger.source (
    source text PRIMARY KEY,
    url text NOT NULL,
    collection_id text NOT NULL,
    rule_digest text NOT NULL,
    reading_digest text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

# Names compare by byte, so that a batch's first and last name mean the same here and in every store.
BLOB = """
CREATE TABLE ledger.blob (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    last_modified timestamptz NOT NULL,
    content_type text,
    md5 text,
    etag_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    described_etag text,
    described_reading text,
    catalogued_etag text,
    catalogued_rule text,
    catalogued_at timestamptz,
    failed_etag text,
    failed_rule text,
    failed_stage text CHECK (failed_stage IN ('describe', 'catalogue')),
    failed_at timestamptz,
    error_code text,
    error_message text,
    permanent boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    deleted_at timestamptz,
    run_id text,
    PRIMARY KEY (source, name)
)
"""

RASTER_METADATA = """
CREATE TABLE ledger.raster_metadata (
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    metadata jsonb NOT NULL,
    described_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (source, name)
)
"""

# Which blob owns which item: the guard against two blobs with one id, and the list of what to withdraw.
ITEM = """
CREATE TABLE ledger.item (
    collection_id text NOT NULL,
    item_id text NOT NULL,
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (collection_id, item_id),
    UNIQUE (source, name)
)
"""

LISTING = """
CREATE TABLE ledger.listing (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL REFERENCES ledger.source,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    complete boolean NOT NULL DEFAULT false,
    new bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    run_id text
)
"""

FAILED_ATTEMPT = """
CREATE TABLE ledger.failed_attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    stage text NOT NULL,
    error_code text NOT NULL,
    error_message text NOT NULL,
    permanent boolean NOT NULL,
    run_id text,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

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
    """Create the ledger's tables and its one view."""
    for statement in (SOURCE, BLOB, RASTER_METADATA, ITEM, LISTING, FAILED_ATTEMPT, BLOB_STATE):
        op.execute(statement)


def downgrade() -> None:
    """Drop them again."""
    op.execute("DROP VIEW ledger.blob_state")
    for table in ("failed_attempt", "listing", "item", "raster_metadata", "blob", "source"):
        op.execute(f"DROP TABLE ledger.{table}")
