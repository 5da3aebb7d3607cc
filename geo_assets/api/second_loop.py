"""A second event loop, in a thread of its own, for requests that are heavy: beside the loop that answers all others.

Here: the thread, and an application that has two copies, one for each loop. Not here: which requests are heavy
(`bounds`).
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_assets.api.bounds import replayed
from geo_assets.api.problems import Busy

_AT_ONCE = 2
_WAIT_SECONDS = 30


class SecondLoop:
    """``light`` for most requests, and ``heavy``, its copy, for heavy ones, two at a time.

    Each copy has connections of its own, since a connection belongs to one loop.
    """

    def __init__(self, light: ASGIApp, heavy: ASGIApp) -> None:
        self._light = light
        self._heavy = heavy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request in the loop that it belongs to."""
        if self._loop is None or scope["type"] != "http" or not scope.get("state", {}).get("heavy"):
            await self._light(scope, receive, send)
            return
        message = await receive()  # the whole body, as `bounds` took it in
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy(f"{_AT_ONCE} large requests are being answered.") from None
        try:
            await self._pass_on(scope, message["body"], send)
        finally:
            self._turns.release()

    @asynccontextmanager
    async def running(self, connected: Callable[[], AbstractAsyncContextManager[None]]) -> AsyncIterator[None]:
        """Have the second loop run inside the block, with what ``connected`` opens and closes in it."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="second loop", daemon=True)
        thread.start()
        opened = connected()
        try:
            await _in(loop, opened.__aenter__())
            self._loop = loop
            try:
                yield
            finally:
                self._loop = None
                await _in(loop, opened.__aexit__(None, None, None))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join)
            loop.close()

    async def _pass_on(self, scope: Scope, body: bytes, send: Send) -> None:
        assert self._loop is not None
        first = asyncio.get_running_loop()

        async def send_back(message: Message) -> None:
            await _in(first, send(message))

        async def nothing_more() -> Message:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        await _in(self._loop, self._heavy(scope, replayed(body, nothing_more), send_back))


async def _in(loop: asyncio.AbstractEventLoop, work: Any) -> None:
    """Wait for ``work``, which runs in another loop."""
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
