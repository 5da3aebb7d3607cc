"""Connections of /stac come in the order in which they were asked for.

Here: the pool on a real PostgreSQL. Not here: what a search does with one.
"""

import asyncio
from collections import deque

import asyncpg
import pytest

from geo_assets.api.connections import FairPool

CALLERS, CONNECTIONS, TURNS = 20, 2, 15


def test_nobody_is_passed(database_url: str) -> None:
    """Each of many callers, who ask again at once, gets a connection before any who asked later."""
    assert asyncio.run(_passings(database_url)) == 0


def test_who_waits_too_long_is_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller without a connection gets TimeoutError, which the API answers with 503; the next one gets its own."""
    monkeypatch.setattr("geo_assets.api.connections.WAIT_SECONDS", 0.2)

    async def ask() -> int:
        async with asyncpg.create_pool(database_url, min_size=0, max_size=1) as pool:
            fair = FairPool(pool, 1)
            async with fair.acquire():
                with pytest.raises(TimeoutError):
                    async with fair.acquire():
                        pass
            async with fair.acquire() as connection:
                answer: int = await connection.fetchval("SELECT 1")
                return answer

    assert asyncio.run(ask()) == 1


async def _passings(database_url: str) -> int:
    """How often a connection went to somebody while another, who had asked before, still waited."""
    waiting: deque[object] = deque()
    passings = 0

    async def call(pool: FairPool) -> None:
        nonlocal passings
        for _ in range(TURNS):
            asked = object()
            waiting.append(asked)
            async with pool.acquire() as connection:
                passings += waiting[0] is not asked
                waiting.remove(asked)
                await connection.fetchval("SELECT 1")

    async with asyncpg.create_pool(database_url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        fair = FairPool(pool, CONNECTIONS)
        await asyncio.gather(*(call(fair) for _ in range(CALLERS)))
    return passings
