"""The SQL files, and what psycopg raises when the server is absent or not migrated.

Here: what processes need that load no Dagster, for it takes 100 MB. Not here: connections of resources (`database`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from geo_assets.errors import DatabaseUnavailable

SQL_FOLDER = Path(__file__).resolve().parent.parent / "sql"

_NO_LOGIN = "Run `geo-assets db migrate`, which makes the logins, with the same GEO_ASSETS_*DATABASE_URL as here."


@cache
def read_sql(name: str) -> LiteralString:
    """The statement in `sql/<name>.sql`."""
    statement: Any = (SQL_FOLDER / f"{name}.sql").read_text("utf-8")
    return cast(LiteralString, statement)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what psycopg raises for an absent server or schema into DatabaseUnavailable."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        raise DatabaseUnavailable(
            f"the database is not migrated ({str(error).splitlines()[0]}).",
            remedy="Run `geo-assets db migrate`, or the job stac_setup.",
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        remedy = _NO_LOGIN if "authentication failed" in str(error) else None
        raise DatabaseUnavailable(f"PostgreSQL failed: {str(error).strip()}.", remedy=remedy) from error
