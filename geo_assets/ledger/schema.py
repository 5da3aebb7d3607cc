"""The schemas of the catalogue's database: PgSTAC by pypgstac, the ledger by alembic, its views by their files.

Here: installing and granting, each idempotent; the views, a file each in `views/`, which each `db migrate` creates
again, so that a change needs no migration; and whether a database is what `db migrate` of this release makes, for runs,
commands and the API. Not here: what each role may (`roles`), the tables (`geo_assets.migrations`), using the schemas.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from pypgstac import version
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate, get_sql

from geo_assets.errors import DatabaseIncomplete, DatabaseUnavailable, InvalidConfiguration
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.ledger.roles import give_tables, grant_all, login_checks, make_roles
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.locks import Lock, take, take_until_end
from geo_assets.postgres.logins import LOADER_ROLE, READER_ROLE

VIEWS_FOLDER = Path(__file__).resolve().parent / "views"
VIEWS = ("blob_state", "withdrawal", "orphaned_file")
"""In an order in which they can be created."""
_KEPT_DIGESTS = 20
PGSTAC_VERSION: str = version.__version__
MIGRATIONS_FOLDER = Path(__file__).resolve().parent.parent / "migrations"
SCHEMA_OBJECTS = MIGRATIONS_FOLDER / "schema_objects.txt"
"""What `db migrate` makes in both schemas, a line each: written by `python -m scripts.schema_objects`."""
_NAMED_AT_MOST = 5
_VERSIONS = """
    SELECT pgstac.get_version() AS pgstac, (SELECT version_num FROM ledger.alembic_version) AS ledger,
        obj_description('ledger'::regnamespace, 'pg_namespace') AS comment
"""
RESTORE_SCHEMA = "geo_assets_restore"
"""Is there from the moment that a backup is restored until the database is migrated, too."""
# What installing PgSTAC leaves in the database beside roles and extensions: one of its functions is outside its schema.
_WITHOUT_PGSTAC = ("RESET ROLE", "DROP SCHEMA pgstac CASCADE", "DROP FUNCTION IF EXISTS public.pgstac_admin_owns()")
_OWNS = """
    SELECT coalesce(bool_and(pg_has_role(nspowner, 'USAGE')), true) AS owns
    FROM pg_namespace WHERE nspname IN ('ledger', 'pgstac')
"""


def create_views(connection: psycopg.Connection[Any]) -> None:
    """Create the views as their files say, in the caller's transaction, and note that in the schema's comment.

    What was granted on them stays. Raises DatabaseIncomplete where something else depends on a view whose columns
    changed.
    """
    try:
        with connection.transaction():
            _run_files(connection)
    except psycopg.errors.InvalidTableDefinition:  # other columns than before, so none that could be replaced
        _drop_and_create(connection)
    (row,) = connection.execute("SELECT obj_description('ledger'::regnamespace, 'pg_namespace')").fetchall()
    digests = [each for each in digests_in(row[0]) if each != views_digest()][1 - _KEPT_DIGESTS :]
    comment = sql.SQL("COMMENT ON SCHEMA ledger IS {}")
    connection.execute(comment.format(sql.Literal(" ".join(["views", *digests, views_digest()]))))


def digests_in(comment: str | None) -> list[str]:
    """Those of all views that the database has had, the present ones last, from the comment of the schema.

    A release whose own is among them goes on working while a later release takes over.
    """
    return comment.split()[1:] if comment is not None and comment.startswith("views ") else []


@cache
def views_digest() -> str:
    """What tells the views of this release from those of others."""
    return hashlib.sha256("".join(_read_view(name) for name in VIEWS).encode()).hexdigest()[:12]


def _drop_and_create(connection: psycopg.Connection[Any]) -> None:
    grants = connection.execute(read_sql("select_view_grants"), {"views": list(VIEWS)}).fetchall()
    names = sql.SQL(", ").join(sql.Identifier("ledger", name) for name in VIEWS)
    try:
        connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(names))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise DatabaseIncomplete(
            f"The views of the ledger cannot be replaced: {error.diag.message_detail}.",
            remedy="Drop what depends on them, run `geo-assets db migrate`, and create it again.",
        ) from error
    _run_files(connection)
    for (statement,) in grants:
        connection.execute(statement)


def _run_files(connection: psycopg.Connection[Any]) -> None:
    for name in VIEWS:
        connection.execute(_read_view(name))


def _read_view(name: str) -> LiteralString:
    statement: Any = (VIEWS_FOLDER / f"{name}.sql").read_text("utf-8")
    return cast(LiteralString, statement)


def check_schema(connections: Connections) -> dict[str, str]:
    """The versions of PgSTAC and of the ledger, after a look whether all is there that they are made of: 3 ms.

    Of a schema of a newer release, which may have something else in its place, only the version is looked at. Raises
    DatabaseUnavailable where a migration is missing, DatabaseIncomplete where anything else is.
    """
    with connections.connect() as connection:
        row = connection.execute(_VERSIONS).fetchone()
        there = read_objects(connection)
    assert row is not None
    if row["pgstac"] is None or row["ledger"] is None:
        raise DatabaseIncomplete("The database has the schemas pgstac and ledger, but no record of their version.")
    comment = row.pop("comment")
    _require_released(row["ledger"])
    is_behind = row["ledger"] in _revisions()[1:] or _numbers(row["pgstac"]) < _numbers(PGSTAC_VERSION)
    if is_behind or (row["ledger"] == _revisions()[0] and views_digest() not in digests_in(comment)):
        raise DatabaseUnavailable("The database is not migrated.", remedy="Run `geo-assets db migrate`.")
    ours = {
        "ledger.": row["ledger"] == _revisions()[0],
        "pgstac.": row["ledger"] == _revisions()[0]
        and row["pgstac"] == PGSTAC_VERSION,  # the ledger has triggers there
    }
    expected = [each for each in _expected() if any(is_ours and f" {name}" in each for name, is_ours in ours.items())]
    if missing := set(expected) - there:
        said = f"The database lacks {_said(sorted(missing))}."
        if missing <= {f"view ledger.{name}" for name in VIEWS}:
            raise DatabaseIncomplete(said, remedy="Run `geo-assets db migrate`, which creates views again.")
        raise DatabaseIncomplete(said)
    return dict(row)


def read_objects(connection: Connection) -> set[str]:
    """What the schemas of the database are made of, as the lines of SCHEMA_OBJECTS."""
    rows = connection.execute(read_sql("select_schema_objects")).fetchall()
    return {f"{row['kind']} {row['name']}" for row in rows}


def require_known_version(connection: Connection) -> None:
    """Raise DatabaseIncomplete where the ledger is of a version from which no migration of this release leads on."""
    query = "SELECT to_regclass('ledger.alembic_version') IS NOT NULL AS is_there"
    row = connection.execute(query).fetchone()
    if row is None or not row["is_there"]:
        return
    for each in connection.execute("SELECT version_num FROM ledger.alembic_version").fetchall():
        _require_released(each["version_num"])
        if each["version_num"] not in _revisions():
            raise DatabaseIncomplete(
                f"The database is of a newer release: its ledger has version {each['version_num']}, this release "
                f"{_revisions()[0]}.",
                remedy="Install that release, or do without `geo-assets db migrate`: this one works on the database.",
            )


def _require_released(ledger_version: str) -> None:
    """Raise DatabaseIncomplete for a version before the first migration, which no release had."""
    first = _revisions()[-1]
    if ledger_version.isdecimal() and int(ledger_version) < int(first):
        raise DatabaseIncomplete(
            f"The database was made before the first release: its ledger has version {ledger_version}, and migrations "
            f"begin with {first}.",
            remedy="Make an empty database (`geo-assets db destroy` removes the embedded one), run `geo-assets db "
            "migrate`, and make the catalogue again from its containers (docs/operate/backup.md).",
        )


@cache
def _revisions() -> tuple[str, ...]:
    """Those of all migrations, the newest first: reading them takes a file each, and a release's stay as they are."""
    return tuple(each.revision for each in ScriptDirectory(str(MIGRATIONS_FOLDER)).walk_revisions())


@cache
def _expected() -> frozenset[str]:
    lines = SCHEMA_OBJECTS.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _numbers(version: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", version)]


def _said(missing: list[str]) -> str:
    """ "2 triggers and 1 index: ledger.blob.a, ledger.blob.b, ledger.blob.c"."""
    pairs = [line.rsplit(" ", 1) for line in missing]
    counts = Counter(kind for kind, _ in pairs)
    parts = [f"{number} {_plural(kind) if number > 1 else kind}" for kind, number in counts.items()]
    names = ", ".join(name for _, name in pairs[:_NAMED_AT_MOST])
    return f"{', '.join(parts)}: {names}{', ...' if len(pairs) > _NAMED_AT_MOST else ''}"


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("x") else f"{kind}s"


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
