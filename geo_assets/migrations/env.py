"""Alembic's entry: migrate the ledger over the connection the caller hands in."""

from alembic import context

LEDGER_SCHEMA = "ledger"


def run() -> None:
    """Run the migrations in one transaction; the version table lies in the ledger's own schema."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, version_table_schema=LEDGER_SCHEMA, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


run()
