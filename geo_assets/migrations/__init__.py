"""The ledger's schema, version by version, run by alembic."""
