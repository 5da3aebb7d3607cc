"""How far a listing got, so that one whose run died goes on instead of starting over."""

from alembic import op

revision = "0003"
down_revision = "0002"

# A number that says which known blobs a page showed in a few bytes: ids follow names where blobs came in by a listing.
BLOB_ID = "ALTER TABLE ledger.blob ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY"

# A resumed listing keeps its row; its generation is new, for the sensor tells by it that a listing took place.
GENERATION = "CREATE SEQUENCE ledger.listing_generation"
LISTING = """
ALTER TABLE ledger.listing
    ADD COLUMN shard text NOT NULL DEFAULT '',
    ADD COLUMN rule text NOT NULL DEFAULT '',
    ADD COLUMN marker text,
    ADD COLUMN pages integer NOT NULL DEFAULT 0,
    ADD COLUMN ignored jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN generation bigint NOT NULL DEFAULT nextval('ledger.listing_generation')
"""

# The ids that a page of an unfinished listing found unchanged; gone as soon as the listing is finished.
LISTING_PAGE = """
CREATE TABLE ledger.listing_page (
    listing_id bigint NOT NULL REFERENCES ledger.listing ON DELETE CASCADE,
    page integer NOT NULL,
    unchanged int8multirange NOT NULL,
    PRIMARY KEY (listing_id, page)
)
"""


def upgrade() -> None:
    """Add what a listing needs to go on after its run died."""
    for statement in (BLOB_ID, GENERATION, LISTING, LISTING_PAGE):
        op.execute(statement)


def downgrade() -> None:
    """Drop it again; an unfinished listing then starts over."""
    op.execute("DROP TABLE ledger.listing_page")
    for column in ("shard", "rule", "marker", "pages", "ignored", "touched_at", "generation"):
        op.execute(f"ALTER TABLE ledger.listing DROP COLUMN {column}")
    op.execute("DROP SEQUENCE ledger.listing_generation")
    op.execute("ALTER TABLE ledger.blob DROP COLUMN id")
