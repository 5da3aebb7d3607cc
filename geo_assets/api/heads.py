"""How much a connection may send that is no body, and how long: requests' lines and headers, sizes of chunks, trailers.

Here: uvicorn's protocol with these bounds. Not here: bodies (`bounds`, `gate`). What has no end is read before anybody
knows who sends it: without a bound a header of 200 MB took 2 GB of memory, and needed no key.
"""

import asyncio

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 512 * 1024
"""More than a query of 64 KB and every header that a browser or proxy sends; what arrives at once counts as one."""
SECONDS_OF_HEAD = 30.0
"""So long a request's head may take to come, the first from when the connection is made."""
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n"
    b"x-content-type-options: nosniff\r\n\r\n"
)
log = structlog.get_logger("geo_assets.api")


class BoundedHeads(HttpToolsProtocol):
    """The protocol of a connection, which ends it where no request and no part of a body comes of what is sent."""

    _head_bytes = 0
    _moved = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes of the connection; end it once too many came to nothing."""
        self._moved = False
        super().data_received(data)
        self._head_bytes = 0 if self._moved else self._head_bytes + len(data)
        if not self._moved and self._timer is None:
            self._await_head()
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            log.warning("head_too_large", bytes=self._head_bytes)
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._moved = True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """So is some of the body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """So is all of the request."""
        self._moved = True
        super().on_message_complete()

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(SECONDS_OF_HEAD, self._end_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_late(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
