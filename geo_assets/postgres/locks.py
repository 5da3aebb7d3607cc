"""Advisory locks of PostgreSQL: each has a name, and each name is used for one thing.

Here: the names, the one place that makes a key of one, and every call of PostgreSQL's functions for them. Not here:
what is done under a lock, nor whose turn a source is (`geo_assets.ledger.sources`).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

FORGET_ALL = "SELECT pg_advisory_unlock_all()"
"""Releases every lock of a session."""
SHARE_UNTIL_END = "SELECT pg_advisory_xact_lock_shared($1::bigint)"
"""Takes a shared lock by its key until the transaction ends, as drivers with numbered values want it."""
_HOLDERS = """
    SELECT pid, application_name, backend_start
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((classid::bigint << 32) | objid::bigint) = %s
    ORDER BY backend_start
"""


@unique
class Lock(StrEnum):
    """What a lock is for; beside each, what it is one of."""

    API_JOB = "job of the API"  # a job's id: one submission at a time
    COLLECTION = "items of a collection"  # a collection's id: one loader at a time
    DAGSTER_TABLES = "tables of Dagster"  # one process makes them
    LISTING = "listing"  # a source: its listings take turns
    MIGRATION = "migration"  # one migration or restore at a time, whoever starts it
    OWNERSHIP = "ownership of a collection"  # a collection's id: writers of the API share it, a new source waits
    SILVER_FILE = "silver file"  # a place and a name: published or swept
    SOURCE = "source"  # a source: shared by all processes of the one run that works on it
    SOURCE_GATE = "gate of a source"  # a source: one run at a time asks whether it is its turn
    VECTOR_FILE = "vector file"  # a source and a blob: loaded or compared
    VECTOR_TABLE = "vector table"  # a schema and a table: one file at a time is written to it
    WORK = "work"  # a run or a task of one: shared by the processes that work on it, so that others see them live


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds a lock; ``name`` and ``since`` are None where this login may not see whose it is."""

    pid: int
    name: str | None
    since: datetime | None


def lock_key(lock: Lock, *subject: str) -> int:
    """The key of the lock of ``subject``, of 64 bits: equal for equal words, whoever makes it."""
    words = "\x1f".join((lock.value, *subject))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), signed=True)


def take(executor: Connection[Any] | Cursor[Any], lock: Lock, *subject: str, shared: bool = False) -> None:
    """Wait for the lock and hold it until the session ends, or `release` is called."""
    executor.execute(f"SELECT pg_advisory_lock{_shared(shared)}(%s::bigint)", (lock_key(lock, *subject),))


def take_until_end(executor: Connection[Any] | Cursor[Any], lock: Lock, *subject: str) -> None:
    """Wait for the lock and hold it until the transaction ends."""
    executor.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (lock_key(lock, *subject),))


def try_to_take(connection: Connection[Any], lock: Lock, *subject: str) -> bool:
    """Whether the lock was free; then this session holds it."""
    return _answer(connection, "SELECT pg_try_advisory_lock(%s::bigint)", lock_key(lock, *subject))


def try_to_share_until_end(connection: Connection[Any], lock: Lock, *subject: str) -> bool:
    """Whether the lock was not held by one alone; then this transaction shares it."""
    return _answer(connection, "SELECT pg_try_advisory_xact_lock_shared(%s::bigint)", lock_key(lock, *subject))


def release(connection: Connection[Any], lock: Lock, *subject: str) -> None:
    """Release the lock that this session holds alone; a session that has ended holds none."""
    if not connection.closed:
        connection.execute("SELECT pg_advisory_unlock(%s::bigint)", (lock_key(lock, *subject),))


@contextmanager
def holding(connection: Connection[Any], lock: Lock, *subject: str) -> Iterator[None]:
    """Wait for the lock and hold it during the block."""
    take(connection, lock, *subject)
    try:
        yield
    finally:
        release(connection, lock, *subject)


def holders(connection: Connection[Any], lock: Lock, *subject: str) -> list[Holder]:
    """The other sessions that hold the lock, the oldest first."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_HOLDERS, (lock_key(lock, *subject),)).fetchall()
    return [Holder(pid, name or None, since) for pid, name, since in rows]


def script_line(lock: Lock, *subject: str) -> bytes:
    """A line of a script for psql that takes the lock until its session ends."""
    return f"SELECT pg_advisory_lock({lock_key(lock, *subject)});\n".encode()


def _shared(shared: bool) -> str:
    return "_shared" if shared else ""


def _answer(connection: Connection[Any], statement: str, key: int) -> bool:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(statement.encode(), (key,)).fetchone()
    return bool(row and row[0])
