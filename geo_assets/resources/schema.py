"""The schemas of the catalogue's database: PgSTAC by pypgstac, the ledger by alembic, and three roles.

Here: installing, granting and verifying, each idempotent. Not here: using the schemas.
"""

from functools import cache
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from geo_assets.databases import API_ROLE, LOADER_ROLE, READER_ROLE
from geo_assets.errors import DatabaseUnavailable
from geo_assets.resources.database import Connection, DatabaseResource
from geo_assets.resources.statements import database_errors, read_sql

MIGRATIONS_FOLDER = Path(__file__).resolve().parent.parent / "migrations"
# One migration at a time, whoever starts it.
_MIGRATION_LOCK = 7_310_251_180_114


class CatalogueSchema(DatabaseResource):
    """Installs and checks the schemas `pgstac` and `ledger`."""

    def install(self) -> dict[str, str]:
        """Bring PgSTAC and the ledger to this release's version; their versions."""
        with self.connect() as lock:
            lock.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
            with database_errors():
                lock.execute("CREATE SCHEMA IF NOT EXISTS ledger")
                versions = {"pgstac": self._install_pgstac(), "ledger": self._install_ledger()}
                lock.execute(read_sql("install_queryables"))
                return versions

    def grant_roles(self) -> list[str]:
        """Create the loader (writes items and ledger), the reader (reads both), the API's (reads; writes its jobs).

        None can log in by itself; who made them may act as each.
        """
        with self.connect() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            for role, pgstac_role in ((LOADER_ROLE, "pgstac_ingest"), (READER_ROLE, "pgstac_read")):
                _create_role(connection, role)
                _grant(connection, "GRANT {} TO {}", pgstac_role, role)
                _grant(connection, "GRANT USAGE ON SCHEMA ledger TO {}", role)
                _grant(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO {}", role)
            _grant(connection, "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ledger TO {}", LOADER_ROLE)
            _grant(connection, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA ledger TO {}", LOADER_ROLE)
            _create_role(connection, API_ROLE)
            _grant(connection, "GRANT {} TO {}", READER_ROLE, API_ROLE)
            _grant(connection, "GRANT INSERT, UPDATE ON ledger.api_job TO {}", API_ROLE)
            for role in (LOADER_ROLE, READER_ROLE, API_ROLE):
                _grant(connection, "GRANT {} TO CURRENT_USER", role)
        return [LOADER_ROLE, READER_ROLE, API_ROLE]

    def verify(self) -> dict[str, str]:
        """Check that the schemas answer, the loader may load and the reader only read; what was seen.

        Raises DatabaseUnavailable naming what is wrong.
        """
        with self.connect() as connection:
            versions = connection.execute(
                "SELECT pgstac.get_version() AS pgstac, postgis_lib_version() AS postgis, "
                "current_setting('server_version') AS postgresql"
            ).fetchone()
            assert versions is not None
            checks = {
                "loader may load items": _may(connection, LOADER_ROLE, "pgstac.items", "INSERT"),
                "loader may write the ledger": _on_ledger(connection, LOADER_ROLE, writing=True)["on_all"],
                "reader may read items": _may(connection, READER_ROLE, "pgstac.items", "SELECT"),
                "reader may read the ledger": _on_ledger(connection, READER_ROLE, writing=False)["on_all"],
                "reader may not load items": not _may(connection, READER_ROLE, "pgstac.items", "INSERT"),
                "reader may not write the ledger": not _on_ledger(connection, READER_ROLE, writing=True)["on_any"],
            }
        failed = [name for name, passed in checks.items() if not passed]
        if failed:
            raise DatabaseUnavailable(f"roles are wrong: {', '.join(failed)}.", remedy="Run the job stac_setup.")
        return {**versions, **dict.fromkeys(checks, "yes")}

    def _install_pgstac(self) -> str:
        database = PgstacDB(dsn=self.resolved_url())
        try:
            return str(Migrate(database).run_migration())
        finally:
            database.disconnect()
            database.close()

    def _install_ledger(self) -> str:
        engine = sqlalchemy.create_engine(_sqlalchemy_url(self.resolved_url()), poolclass=sqlalchemy.NullPool)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
        config.set_main_option("path_separator", "os")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            version = connection.execute(sqlalchemy.text("SELECT version_num FROM ledger.alembic_version"))
            return str(version.scalar_one())


def is_older_than_this_release(ledger_version: str) -> bool:
    """Whether the ledger lacks a migration of this release; one of a newer release has them all, and more."""
    return ledger_version in _versions_before_this_release()


@cache
def _versions_before_this_release() -> frozenset[str]:
    """Those of all migrations but the last: reading them takes a file each, and a release's stay as they are."""
    scripts = ScriptDirectory(str(MIGRATIONS_FOLDER))
    return frozenset(each.revision for each in scripts.walk_revisions()) - {scripts.get_current_head()}


def _sqlalchemy_url(url: str) -> sqlalchemy.URL:
    return sqlalchemy.make_url(url).set(drivername="postgresql+psycopg")


def _create_role(connection: Connection, role: str) -> None:
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
        _grant(connection, "CREATE ROLE {} NOLOGIN", role)


def _grant(connection: Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


def _on_ledger(connection: Connection, role: str, *, writing: bool) -> dict[str, bool]:
    privileges, kinds = (["INSERT", "UPDATE", "DELETE"], ["r"]) if writing else (["SELECT"], ["r", "v"])
    bound = {"role": role, "privileges": privileges, "kinds": kinds}
    row = connection.execute(read_sql("check_ledger_privileges"), bound).fetchone()
    assert row is not None
    return row


def _may(connection: Connection, role: str, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_table_privilege(%s, %s, %s) AS may", (role, table, privilege)).fetchone()
    return bool(row and row["may"])
