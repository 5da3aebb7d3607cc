"""The files in the output location that are, or are about to be, of COGs."""

from alembic import op

revision = "0015"
down_revision = "0014"

# One row a file, written before the file is: so no moment leaves one that the ledger does not know. kept: its raster is
# gone and the source's rule lets the file stay.
SILVER_FILE = """
CREATE TABLE ledger.silver_file (
    place text NOT NULL,
    name_in_place text COLLATE "C" NOT NULL,
    source text NOT NULL,
    name text COLLATE "C" NOT NULL,
    kept boolean NOT NULL DEFAULT false,
    announced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (place, name_in_place)
)
"""
BY_RASTER = "CREATE INDEX silver_file_source ON ledger.silver_file (source, name)"
SO_FAR = """
INSERT INTO ledger.silver_file (place, name_in_place, source, name, announced_at, run_id)
SELECT c.place, f.name_in_place, c.source, c.name, c.made_at, c.run_id
FROM ledger.cog AS c
CROSS JOIN LATERAL unnest(ARRAY[c.name_in_place, c.thumbnail_name]) AS f (name_in_place)
WHERE c.place IS NOT NULL AND f.name_in_place IS NOT NULL
ON CONFLICT DO NOTHING
"""

# Nothing needs these any more: a run died before it recorded them, or their COG went or lies elsewhere now.
ORPHANED_FILE = """
CREATE VIEW ledger.orphaned_file AS
SELECT f.*
FROM ledger.silver_file AS f
WHERE NOT f.kept
    AND NOT EXISTS (
        SELECT FROM ledger.cog AS c
        WHERE c.source = f.source AND c.name = f.name AND c.place = f.place
            AND f.name_in_place IN (c.name_in_place, c.thumbnail_name)
    )
"""


def upgrade() -> None:
    """Add the table with the files of the COGs there are, and the view."""
    for statement in (SILVER_FILE, BY_RASTER, SO_FAR, ORPHANED_FILE):
        op.execute(statement)


def downgrade() -> None:
    """Drop both again; the files stay where they are."""
    op.execute("DROP VIEW ledger.orphaned_file")
    op.execute("DROP TABLE ledger.silver_file")
