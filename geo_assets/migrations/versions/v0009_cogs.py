"""The COGs that were made of rasters."""

from alembic import op

revision = "0009"
down_revision = "0008"

# One row a blob that a COG was asked of: the version and rule that its COG is of, and those that failed last. `etag` is
# null until there is one. `is_linked`: the blob is such a COG itself, and no file was made. `name_in_place` is the name
# of the file in `place`, which is where the rule had it written.
COG = """
CREATE TABLE ledger.cog (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    etag text,
    rule_digest text,
    is_linked boolean NOT NULL DEFAULT false,
    place text,
    name_in_place text,
    href text,
    thumbnail_name text,
    thumbnail_href text,
    size_bytes bigint,
    original_bytes bigint,
    facts jsonb,
    seconds double precision,
    made_at timestamptz,
    failed_etag text,
    failed_rule text,
    failed_at timestamptz,
    error_code text,
    error_message text,
    permanent boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    run_id text,
    PRIMARY KEY (source, name)
)
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(COG)


def downgrade() -> None:
    """Drop it again; the files stay where they are."""
    op.execute("DROP TABLE ledger.cog")
