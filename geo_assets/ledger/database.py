"""Connections to the catalogue's database.

Here: connecting, and running a statement of `sql/` by its name. Not here: the statements' text (`statements`) and what
they are for (`ledger`, `pgstac`), psycopg's errors (`geo_assets.postgres.errors`).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import psycopg
from psycopg.rows import DictRow, dict_row
from pydantic import Field

from geo_assets.configured import ConfiguredResource
from geo_assets.ledger.statements import read_sql
from geo_assets.postgres.databases import catalogue_url
from geo_assets.postgres.errors import database_errors

Connection = psycopg.Connection[DictRow]
_THREAD = threading.local()


def close_kept_connection() -> None:
    """Close what this thread borrowed, as one that ends does."""
    _, connection = getattr(_THREAD, "kept", (None, None))
    if connection is not None:
        connection.close()
        del _THREAD.kept


class DatabaseResource(ConfiguredResource):
    """A resource on the catalogue's database; with no url of its own it follows the settings."""

    database_url: str = Field(
        default="",
        description="PostgreSQL URL of the catalogue. Empty: GEO_ASSETS_DATABASE_URL, else the embedded cluster.",
    )

    def resolved_url(self) -> str:
        """The URL to connect to. Raises DatabaseUnavailable where the embedded cluster is not running."""
        return self.database_url or catalogue_url(self.settings)

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
            self.resolved_url(),
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

    def _kept_connection(self) -> Connection:
        wanted = self.resolved_url()
        of, connection = getattr(_THREAD, "kept", (None, None))
        if connection is not None and of == wanted:
            with suppress(psycopg.OperationalError):
                connection.execute("SELECT 1")  # it may have been cut since
                return cast(Connection, connection)
        if connection is not None:
            connection.close()
        connection = self.open()
        _THREAD.kept = (wanted, connection)
        return connection

    def rows(self, statement: str, **values: Any) -> list[DictRow]:
        """The rows of one statement file."""
        with self.borrow() as connection:
            return connection.execute(read_sql(statement), values).fetchall()

    def row(self, statement: str, **values: Any) -> DictRow:
        """The one row of a statement file that always gives one."""
        return self.rows(statement, **values)[0]
