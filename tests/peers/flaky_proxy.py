"""A TCP proxy that goes bad on command: down, slow, resetting, silent, or answering 503 in the service's place.

Here: what stands between geo_assets and a real service in fault tests. Not here: the services (`tests.services`).
"""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import Literal, Self

Mode = Literal["up", "down", "slow", "reset", "silent", "busy"]

_BUSY_BODY = (
    b"<?xml version='1.0' encoding='utf-8'?>"
    b"<Error><Code>ServerBusy</Code><Message>The server is currently unable to receive requests.</Message></Error>"
)
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nx-ms-error-code: ServerBusy\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BUSY_BODY), _BUSY_BODY)
)
_SLOW_SECONDS = 0.5


class FlakyProxy:
    """Carries connections to ``target`` on 127.0.0.1; `mode` may change at any time, for open connections too.

    ``down`` refuses connections and drops open ones, ``slow`` delays each piece by half a second, ``reset`` ends each
    connection with RST on its first byte, ``silent`` takes bytes and answers none, ``busy`` answers HTTP 503.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        self.target = target
        self.host = host
        self._mode: Mode = "up"
        with socket.socket() as probe:
            probe.bind((host, 0))
            self.port = int(probe.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._call(self._end_of_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def mode(self) -> Mode:
        """How it behaves now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "down":
            self._call(self._close())
        elif self._server is None:
            self._call(self._listen())

    def _call(self, coroutine: "asyncio.Future[None] | object") -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, reuse_address=True)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            _reset(writer)

    async def _end_of_all(self) -> None:
        """Wait until nothing is carried any more, so that the loop can be closed."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        self._writers.add(near_writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._carry(near, near_writer)
        finally:
            self._writers.discard(near_writer)
            near_writer.close()

    async def _carry(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        far, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(far_writer)
        try:
            ways = [
                asyncio.ensure_future(self._pump(near, far_writer, answer=near_writer)),
                asyncio.ensure_future(self._pump(far, near_writer)),
            ]
            _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
        finally:
            self._writers.discard(far_writer)
            far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: asyncio.StreamWriter | None = None
    ) -> None:
        while chunk := await reader.read(65_536):
            if self._mode == "slow":
                await asyncio.sleep(_SLOW_SECONDS)
            if self._mode == "silent":
                continue
            if answer is not None and self._mode == "reset":
                return _reset(answer)
            if answer is not None and self._mode == "busy":
                answer.write(_BUSY)
                return await answer.drain()
            writer.write(chunk)
            await writer.drain()
        return None


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    with suppress(OSError):
        own: socket.socket | None = writer.get_extra_info("socket")
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
