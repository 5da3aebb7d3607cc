"""Pooled connections that are as new for each request: whatever one left in its session, the next does not find.

Here: what a session begins with, what is undone when a connection goes back, and who gets the next one. Not here: which
part has which pool.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
from stac_fastapi.pgstac.db import con_init

from geo_assets.postgres.databases import api_url
from geo_assets.postgres.locks import FORGET_ALL
from geo_assets.postgres.logins import SESSIONS, STATEMENT_SECONDS
from geo_assets.settings import Settings

# Longer than the server's own limit, for a session that lifted that.
COMMAND_SECONDS = STATEMENT_SECONDS + 5
WAIT_SECONDS = 10
"""How long a request waits for its turn, and for a connection, before it is 503."""
# All that DISCARD ALL does but forgetting prepared statements: the driver's are what makes searches fast. Of others
# there are none, or the division fails and the connection is closed. One message, as the driver's own reset is.
_RESET = f"""
RESET SESSION AUTHORIZATION;
RESET ALL;
{FORGET_ALL};
CLOSE ALL;
UNLISTEN *;
DISCARD SEQUENCES;
DISCARD TEMP;
SELECT 1 / (NOT EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql))::int;
"""


async def forget_session(connection: Any) -> None:
    """Undo all of a request's session, for a pool of asyncpg, in place of its own way, which leaves the role and more.

    Where that fails, the pool closes the connection.
    """
    await connection.execute(_RESET)


@asynccontextmanager
async def open_pool(settings: Settings, login: str, *, most: int, **further: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of asyncpg of at most ``most`` connections as ``login``, whose sessions begin with ``further`` too.

    It opens its first connection when it is asked for one: the server may start before the database.
    """
    async with asyncpg.create_pool(
        api_url(settings, login),
        min_size=0,
        max_size=most,
        timeout=5,
        command_timeout=COMMAND_SECONDS,
        init=con_init,
        reset=forget_session,
        server_settings=session_settings(login, **further),
    ) as pool:
        yield pool


class FairPool:
    """Connections in the order of asking: in asyncpg's own queue a newcomer can pass who waits, and waits again."""

    def __init__(self, pool: asyncpg.Pool, most: int) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(most)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection inside the block. Raises TimeoutError after ten seconds without one."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._turns.acquire()
        try:
            async with self._pool.acquire(timeout=WAIT_SECONDS) as connection:
                yield connection
        finally:
            self._turns.release()


def session_settings(login: str, **further: str) -> dict[str, str]:
    """What each session of ``login`` begins with, also where the server knows nothing of it yet."""
    return {**SESSIONS[login], "jit": "off", **further}


def as_options(settings: dict[str, str]) -> str:
    """The settings as libpq takes them when it connects."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def discard_all(connection: psycopg.Connection[Any]) -> None:
    """Undo all of the session, for a pool of psycopg; its connections prepare no statements."""
    connection.autocommit = True
    connection.execute("DISCARD ALL")
    connection.autocommit = False
