"""The schemas of the catalogue's database: PgSTAC by pypgstac, the ledger by alembic, and who may do what.

Here: installing, granting and verifying, each idempotent. Not here: what each role may (`roles`), using the schemas.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate, get_sql

from geo_assets.errors import DatabaseIncomplete, DatabaseUnavailable, InvalidConfiguration
from geo_assets.ledger.database import Connection, Connections
from geo_assets.ledger.roles import give_tables, grant_all, login_checks, make_roles
from geo_assets.ledger.schema_check import MIGRATIONS_FOLDER, PGSTAC_VERSION, check_schema, require_known_version
from geo_assets.ledger.statements import read_sql
from geo_assets.ledger.view_files import create_views
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.locks import Lock, take, take_until_end
from geo_assets.postgres.logins import LOADER_ROLE, READER_ROLE

RESTORE_SCHEMA = "geo_assets_restore"
"""Is there from the moment that a backup is restored until the database is migrated, too."""
# What installing PgSTAC leaves in the database beside roles and extensions: one of its functions is outside its schema.
_WITHOUT_PGSTAC = ("RESET ROLE", "DROP SCHEMA pgstac CASCADE", "DROP FUNCTION IF EXISTS public.pgstac_admin_owns()")
_OWNS = """
    SELECT coalesce(bool_and(pg_has_role(nspowner, 'USAGE')), true) AS owns
    FROM pg_namespace WHERE nspname IN ('ledger', 'pgstac')
"""


@dataclass(frozen=True, slots=True)
class CatalogueSchema:
    """Installs and checks the schemas `pgstac` and `ledger`; by ``connections`` of the owner of the database."""

    connections: Connections

    def install(self) -> dict[str, str]:
        """Bring PgSTAC and the ledger to this release's version; their versions.

        Raises InvalidConfiguration for a login that does not own them, DatabaseIncomplete where that cannot be done, as
        for a database of a newer release or of none.
        """
        if not self.may_install():
            raise InvalidConfiguration(
                "The login of this URL does not own the schemas of the database.",
                remedy="Set GEO_ASSETS_OWNER_DATABASE_URL to the URL of who made them.",
            )
        with self.connections.connect() as lock:
            take(lock, Lock.MIGRATION)
            with _migration_errors():
                lock.execute("CREATE SCHEMA IF NOT EXISTS ledger")
                require_known_version(lock)
                versions = {"pgstac": self._install_pgstac(), "ledger": self._install_ledger()}
                lock.execute(read_sql("install_queryables"))
                return versions

    def make_roles(self) -> None:
        """Make the roles and logins that a backup names, and no schema: what no file of one database holds."""
        with self.connections.connect() as connection, connection.transaction():
            take_until_end(connection, Lock.MIGRATION)
            connection.execute(get_sql(f"pgstac.{PGSTAC_VERSION}.sql").encode())
            for statement in _WITHOUT_PGSTAC:
                connection.execute(statement)
            make_roles(connection, {})

    def grant_roles(self, passwords: Mapping[str, str] | None = None) -> list[str]:
        """Make roles and logins, with these passwords, and grant each just what it needs; their names."""
        with self.connections.connect() as connection, connection.transaction():
            take_until_end(connection, Lock.MIGRATION)
            return grant_all(connection, passwords or {})

    def may_install(self) -> bool:
        """Whether this login owns what is installed, or nothing is."""
        with self.connections.connect() as connection:
            row = connection.execute(_OWNS).fetchone()
        return bool(row and row["owns"])

    def give_tables(self) -> int:
        """Make the pipeline's login the owner of tables of vector files that its owner made; how many."""
        with self.connections.connect() as connection, connection.transaction():
            take_until_end(connection, Lock.MIGRATION)
            return give_tables(connection)

    def finish_restore(self) -> None:
        """Let nothing say any more that a backup was restored here and is yet to be migrated."""
        with self.connections.connect() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {RESTORE_SCHEMA}")

    def verify(self) -> dict[str, str]:
        """Check that all is there, that the loader may load, the reader only read, and no login more; what was seen.

        Raises DatabaseUnavailable naming what is wrong.
        """
        check_schema(self.connections)
        with self.connections.connect() as connection:
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
            raise DatabaseUnavailable(
                f"Roles are wrong: {', '.join(failed)}.",
                remedy="Run `geo-assets db migrate`; if that changes nothing, grant or revoke by hand what is named.",
            )
        return {**versions, **dict.fromkeys(checks, "yes")}

    def _install_pgstac(self) -> str:
        database = PgstacDB(dsn=self.connections.url)
        try:
            version = str(Migrate(database).run_migration())
            if database.queue_length():  # of a migration that was ended before it did what it had left for later
                database.run_queued()
            return version
        finally:
            database.disconnect()
            database.close()

    def _install_ledger(self) -> str:
        engine = sqlalchemy.create_engine(_sqlalchemy_url(self.connections.url), poolclass=sqlalchemy.NullPool)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
        config.set_main_option("path_separator", "os")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            create_views(cast("psycopg.Connection[Any]", connection.connection.driver_connection))
            version = connection.execute(sqlalchemy.text("SELECT version_num FROM ledger.alembic_version"))
            return str(version.scalar_one())


@contextmanager
def _migration_errors() -> Iterator[None]:
    """Say of what keeps a migration from its end whether it is the server or what is in the database."""
    try:
        with database_errors():
            try:
                yield
            except sqlalchemy.exc.DBAPIError as error:
                raise (error.orig or error) from error
    except psycopg.Error as error:
        said = str(error).splitlines()[0]
        raise DatabaseIncomplete(f"The database cannot be migrated: {said}.") from error


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
