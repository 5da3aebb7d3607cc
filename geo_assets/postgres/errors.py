"""What PostgreSQL says as an error of ours: by SQLSTATE where it gives one, else by its words.

Here: the one translation, for connections of ours, for PostgreSQL's own programs, and for the API. Not here: what is
said of values and queries, which whoever sends them knows best.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from geo_assets.errors import (
    DatabaseBusy,
    DatabaseDiskFull,
    DatabaseForbids,
    DatabaseMemoryFull,
    DatabaseReadOnly,
    DatabaseStarting,
    DatabaseUnavailable,
)

_NO_LOGIN = "Run `geo-assets db migrate`, which makes the logins, with the same GEO_ASSETS_*DATABASE_URL as here."
_MIGRATE = "Run `geo-assets db migrate`; where a backup is to come back, `geo-assets db restore` before that."
_BY_STATE: dict[str, type[DatabaseUnavailable]] = {
    "25006": DatabaseReadOnly,
    "42501": DatabaseForbids,
    "53100": DatabaseDiskFull,
    "53200": DatabaseMemoryFull,
    "53300": DatabaseBusy,
    "57P03": DatabaseStarting,
}
# A refused connection has no SQLSTATE that libpq hands on.
_BY_WORDS: tuple[tuple[str, type[DatabaseUnavailable]], ...] = (
    (r"too many clients|remaining connection slots|too many connections", DatabaseBusy),
    (r"is starting up|in recovery mode|not yet accepting connections", DatabaseStarting),
    (r"No space left on device", DatabaseDiskFull),
    (r"cannot execute .* in a read-only transaction", DatabaseReadOnly),
)
_MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName)
_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
)
OF_THE_SERVER = (*_MISSING, *_UNAVAILABLE)
"""What says that a server, a schema or a login is at fault, and no value."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what psycopg raises of a server, a schema or a login into DatabaseUnavailable or what is below it."""
    try:
        yield
    except _MISSING as error:
        said = str(error).splitlines()[0]
        raise DatabaseUnavailable(f"The database is not migrated ({said}).", remedy=_MIGRATE) from error
    except _UNAVAILABLE as error:
        said = error.diag.message_primary or str(error).strip()  # without the statement; a hint names settings
        said += f" ({error.diag.message_hint})" if error.diag.message_hint else ""
        kind = kind_of(error.sqlstate, said)
        remedy = _NO_LOGIN if kind is DatabaseUnavailable and "authentication failed" in said else None
        raise kind(f"PostgreSQL failed: {said}.", remedy=remedy) from error


def kind_of(sqlstate: str | None, said: str) -> type[DatabaseUnavailable]:
    """The error that a SQLSTATE means, else what PostgreSQL ``said`` in English; else DatabaseUnavailable."""
    if sqlstate is not None:
        return _BY_STATE.get(sqlstate, DatabaseUnavailable)
    return next((kind for words, kind in _BY_WORDS if re.search(words, said)), DatabaseUnavailable)
