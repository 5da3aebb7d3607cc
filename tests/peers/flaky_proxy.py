"""A TCP proxy that goes bad on command: down, slow, resetting, silent, dripping, or answering 503 in a service's place.

Here: what stands between geo_assets and a real service in fault tests. Not here: the services (`tests.services`).
"""

import asyncio
import re
import socket
import struct
import threading
from contextlib import suppress
from typing import Literal, Self

Mode = Literal["up", "down", "slow", "reset", "silent", "drip", "drip_head", "busy"]

_BUSY_BODY = (
    b"<?xml version='1.0' encoding='utf-8'?>"
    b"<Error><Code>ServerBusy</Code><Message>The server is currently unable to receive requests.</Message></Error>"
)
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nx-ms-error-code: ServerBusy\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BUSY_BODY), _BUSY_BODY)
)
_SLOW_SECONDS = 0.5
_DRIP_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1000000\r\n\r\n"
_DRIP_BODY = b"<?xml version='1.0' encoding='utf-8'?><EnumerationResults><Blobs>" + b" " * 1_000
_DRIP_SECONDS = 1.0
_CONTAINER = re.compile(rb"[A-Z]+ /[^/? ]+/([^/? ]+)[^ ]* HTTP/1.1\r\n")


class FlakyProxy:
    """Carries connections to ``target`` on 127.0.0.1; `mode` may change at any time, for open connections too.

    ``down`` refuses connections and drops open ones, ``slow`` delays each piece by half a second, ``reset`` ends each
    connection with RST on its first byte, ``silent`` takes bytes and answers none, ``busy`` answers HTTP 503, ``drip``
    answers a body of a byte a second, ``drip_head`` its headers too. ``containers`` have modes of their own, but for
    ``down`` and ``slow``.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        self.target = target
        self.host = host
        self.containers: dict[str, Mode] = {}
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
            if (asked := _CONTAINER.match(chunk)) is None or asked[1].decode() not in self.containers:
                mode = self._mode
            else:
                mode = self.containers[asked[1].decode()]
            if mode == "slow":
                await asyncio.sleep(_SLOW_SECONDS)
            if mode == "silent":
                continue
            if answer is not None and mode == "reset":
                return _reset(answer)
            if answer is not None and mode == "busy":
                answer.write(_BUSY)
                return await answer.drain()
            if answer is not None and mode in ("drip", "drip_head"):
                return await _drip(answer, with_head=mode == "drip_head")
            writer.write(chunk)
            await writer.drain()
        return None


async def _drip(writer: asyncio.StreamWriter, *, with_head: bool) -> None:
    """Answer a byte a second for as long as the other side takes it."""
    if not with_head:
        writer.write(_DRIP_HEAD)
    with suppress(ConnectionError):
        for byte in (_DRIP_HEAD if with_head else b"") + _DRIP_BODY:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(_DRIP_SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    with suppress(OSError):
        own: socket.socket | None = writer.get_extra_info("socket")
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
