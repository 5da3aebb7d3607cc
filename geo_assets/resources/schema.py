"""The schemas of the catalogue's database: PgSTAC by pypgstac, the ledger by alembic, and who may do what.

Here: installing, granting and verifying, each idempotent. Not here: what each role may (`roles`), using the schemas.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from geo_assets.databases import owner_url
from geo_assets.errors import DatabaseUnavailable, InvalidConfiguration
from geo_assets.logins import LOADER_ROLE, READER_ROLE
from geo_assets.resources.database import Connection, DatabaseResource
from geo_assets.resources.roles import give_tables, grant_all, login_checks
from geo_assets.resources.statements import database_errors, read_sql
from geo_assets.settings import Settings

MIGRATIONS_FOLDER = Path(__file__).resolve().parent.parent / "migrations"
# One migration at a time, whoever starts it.
_MIGRATION_LOCK = 7_310_251_180_114
_OWNS = """
    SELECT coalesce(bool_and(pg_has_role(nspowner, 'USAGE')), true) AS owns
    FROM pg_namespace WHERE nspname IN ('ledger', 'pgstac')
"""


class CatalogueSchema(DatabaseResource):
    """Installs and checks the schemas `pgstac` and `ledger`, as the owner of the database."""

    def resolved_url(self) -> str:
        """The URL of the database for its owner. Raises DatabaseUnavailable where the embedded cluster is down."""
        return self.database_url or owner_url(Settings())

    def install(self) -> dict[str, str]:
        """Bring PgSTAC and the ledger to this release's version; their versions.

        Raises InvalidConfiguration for a login that does not own them.
        """
        if not self.may_install():
            raise InvalidConfiguration(
                "the login of this URL does not own the schemas of the database.",
                remedy="Set GEO_ASSETS_OWNER_DATABASE_URL to the URL of who made them.",
            )
        with self.connect() as lock:
            lock.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
            with database_errors():
                lock.execute("CREATE SCHEMA IF NOT EXISTS ledger")
                versions = {"pgstac": self._install_pgstac(), "ledger": self._install_ledger()}
                lock.execute(read_sql("install_queryables"))
                return versions

    def grant_roles(self, passwords: Mapping[str, str] | None = None) -> list[str]:
        """Make roles and logins, with these passwords, and grant each just what it needs; their names."""
        with self.connect() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            return grant_all(connection, passwords or {})

    def may_install(self) -> bool:
        """Whether this login owns what is installed, or nothing is."""
        with self.connect() as connection:
            row = connection.execute(_OWNS).fetchone()
        return bool(row and row["owns"])

    def give_tables(self) -> int:
        """Make the pipeline's login the owner of tables of vector files that its owner made; how many."""
        with self.connect() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            return give_tables(connection)

    def verify(self) -> dict[str, str]:
        """Check that the schemas answer, the loader may load, the reader only read, and no login more; what was seen.

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
                **login_checks(connection),
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


def _on_ledger(connection: Connection, role: str, *, writing: bool) -> dict[str, bool]:
    privileges, kinds = (["INSERT", "UPDATE", "DELETE"], ["r"]) if writing else (["SELECT"], ["r", "v"])
    bound = {"role": role, "privileges": privileges, "kinds": kinds}
    row = connection.execute(read_sql("check_ledger_privileges"), bound).fetchone()
    assert row is not None
    return row


def _may(connection: Connection, role: str, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_table_privilege(%s, %s, %s) AS may", (role, table, privilege)).fetchone()
    return bool(row and row["may"])
