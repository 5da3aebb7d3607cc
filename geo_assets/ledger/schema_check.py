"""Whether the database is what `db migrate` of this release makes: its versions and views, and that nothing is missing.

Here: looking, for runs, commands and the API. Not here: migrating (`schema`), and who may do what (`roles`).
"""

import re
from collections import Counter
from functools import cache
from pathlib import Path

from alembic.script import ScriptDirectory
from pypgstac import version

from geo_assets.errors import DatabaseIncomplete, DatabaseUnavailable
from geo_assets.ledger.database import Connection, Connections
from geo_assets.ledger.statements import read_sql
from geo_assets.ledger.view_files import VIEWS, digests_in, views_digest

PGSTAC_VERSION: str = version.__version__
MIGRATIONS_FOLDER = Path(__file__).resolve().parent.parent / "migrations"
SCHEMA_OBJECTS = MIGRATIONS_FOLDER / "schema_objects.txt"
"""What `db migrate` makes in both schemas, a line each: written by `python -m scripts.schema_objects`."""
_NAMED_AT_MOST = 5
_VERSIONS = """
    SELECT pgstac.get_version() AS pgstac, (SELECT version_num FROM ledger.alembic_version) AS ledger,
        obj_description('ledger'::regnamespace, 'pg_namespace') AS comment
"""


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
