"""The tables that vector files became."""

from alembic import op

revision = "0010"
down_revision = "0009"

# One row a layer of a file. Of mode append and upsert many rows name one table. bbox is west, south, east, north in
# degrees, NULL without geometries; columns is [{"name", "original", "type"}] in their order; rejected and dropped
# count rows by reason.
VECTOR_TABLE = """
CREATE TABLE ledger.vector_table (
    source text NOT NULL REFERENCES ledger.source,
    name text COLLATE "C" NOT NULL,
    layer text NOT NULL,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('replace', 'append', 'upsert')),
    etag text NOT NULL,
    rows bigint NOT NULL,
    geometry_column text NOT NULL,
    geometry_types text[] NOT NULL,
    srid integer NOT NULL,
    bbox double precision[],
    columns jsonb NOT NULL,
    driver text NOT NULL,
    source_crs text NOT NULL,
    repaired bigint NOT NULL,
    split bigint NOT NULL,
    linearised bigint NOT NULL,
    rejected jsonb NOT NULL,
    dropped jsonb NOT NULL,
    duplicates bigint NOT NULL,
    seconds double precision NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id text,
    PRIMARY KEY (source, name, layer)
)
"""
VECTOR_TABLE_BY_TABLE = "CREATE INDEX vector_table_table ON ledger.vector_table (table_schema, table_name)"

# A file has an item a layer, so that a blob may own several.
SEVERAL_ITEMS = "ALTER TABLE ledger.item DROP CONSTRAINT item_source_name_key"
ITEM_BY_NAME = "CREATE INDEX item_source_name ON ledger.item (source, name)"
ONE_ITEM = "ALTER TABLE ledger.item ADD CONSTRAINT item_source_name_key UNIQUE (source, name)"
FURTHER_ITEMS = """
DELETE FROM ledger.item AS i USING ledger.item AS o
WHERE o.source = i.source AND o.name = i.name AND (o.collection_id, o.item_id) < (i.collection_id, i.item_id)
"""


def upgrade() -> None:
    """Add the table, and let a blob own several items."""
    for statement in (VECTOR_TABLE, VECTOR_TABLE_BY_TABLE, SEVERAL_ITEMS, ITEM_BY_NAME):
        op.execute(statement)


def downgrade() -> None:
    """Forget the tables, which stay where they are; of the items of a blob its first stays owned."""
    for statement in (FURTHER_ITEMS, "DROP INDEX ledger.item_source_name", ONE_ITEM, "DROP TABLE ledger.vector_table"):
        op.execute(statement)
