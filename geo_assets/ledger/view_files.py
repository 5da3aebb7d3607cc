"""The views of the ledger, a file each in `views/`, which each `db migrate` creates again: a change needs no migration.

Here: creating them, with who may read them, and telling whether a database has those of this release. Not here: the
tables (`geo_assets.migrations`), and who may do what (`roles`).
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql

from geo_assets.errors import DatabaseIncomplete
from geo_assets.ledger.statements import read_sql

VIEWS_FOLDER = Path(__file__).resolve().parent / "views"
VIEWS = ("blob_state", "withdrawal", "orphaned_file")
"""In an order in which they can be created."""
_KEPT_DIGESTS = 20


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
