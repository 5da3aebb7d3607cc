"""Connections to the catalogue's database, and the statements of `sql/`.

Here: connecting, running a statement by its name, and the database's clock; all of it without Dagster, which takes
100 MB of a process. Not here: which database (`geo_assets.postgres.databases`), what the statements are for (the other
modules, each of which is given `Connections`), psycopg's errors (`geo_assets.postgres.errors`).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg.rows import DictRow, dict_row

from geo_assets.postgres.errors import database_errors

SQL_FOLDER = Path(__file__).resolve().parent / "sql"
Connection = psycopg.Connection[DictRow]
Executor = Connection | psycopg.Cursor[DictRow]
"""What runs a statement: a connection, or a cursor of one whose rows are otherwise no dicts."""
_THREAD = threading.local()


@cache
def read_sql(name: str) -> LiteralString:
    """The statement in `sql/<name>.sql`."""
    statement: Any = (SQL_FOLDER / f"{name}.sql").read_text("utf-8")
    return cast(LiteralString, statement)


def connection_of(executor: Executor) -> psycopg.Connection[Any]:
    """The connection that it is, or is a cursor of."""
    return executor.connection if isinstance(executor, psycopg.Cursor) else executor


def close_kept_connection() -> None:
    """Close what this thread borrowed, as one that ends does."""
    _, connection = getattr(_THREAD, "kept", (None, None))
    if connection is not None:
        connection.close()
        del _THREAD.kept


@dataclass(frozen=True, slots=True)
class Connections:
    """How to reach the database: no more than its ``url``, so that it travels to a worker as a value."""

    url: str = field(repr=False)  # there is a password in it

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """An autocommit connection with dict rows and PgSTAC on the search path.

        Raises DatabaseUnavailable for a server that is absent, goes away, or is not migrated.
        """
        with database_errors(), self.open() as connection:
            yield connection

    def open(self) -> Connection:
        """The connection that `connect` gives, for the caller to close; raises what psycopg raises.

        Without JIT: compiling the view of states took ten seconds, for a statement that then took a tenth of one.
        """
        return psycopg.connect(
            self.url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=10,
            options="-c search_path=pgstac,public -c jit=off",
            application_name="geo_assets",
        )

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """A connection that stays open for this thread's next borrower: for work that leaves nothing in the session.

        A new connection costs 10 ms, as much as all the statements of a batch. Raises what `connect` raises.
        """
        with database_errors():
            yield self._kept_connection()

    def rows(self, statement: str, **values: Any) -> list[DictRow]:
        """The rows of one statement file."""
        with self.borrow() as connection:
            return connection.execute(read_sql(statement), values).fetchall()

    def row(self, statement: str, **values: Any) -> DictRow:
        """The one row of a statement file that always gives one."""
        return self.rows(statement, **values)[0]

    def now(self) -> datetime:
        """The database's clock: the only one that scopes are measured with."""
        with self.borrow() as connection:
            return _clock(connection)

    @contextmanager
    def open_clock(self) -> Iterator[Callable[[], datetime]]:
        """`now` on a connection of its own, which may be asked from another thread."""
        with self.connect() as connection:

            def now() -> datetime:
                with database_errors():
                    return _clock(connection)

            yield now

    def _kept_connection(self) -> Connection:
        of, connection = getattr(_THREAD, "kept", (None, None))
        if connection is not None and of == self.url:
            with suppress(psycopg.OperationalError):
                connection.execute("SELECT 1")  # it may have been cut since
                return cast(Connection, connection)
        if connection is not None:
            connection.close()
        connection = self.open()
        _THREAD.kept = (self.url, connection)
        return connection


def _clock(connection: Connection) -> datetime:
    row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None
    moment: datetime = row["now"]
    return moment
