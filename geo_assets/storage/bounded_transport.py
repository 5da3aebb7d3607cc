"""The HTTP transport of the Azure SDK, with a bound on how long one answer may take as a whole.

Its own read timeout is that of one read: a service that sends a byte a second keeps a request waiting for weeks.
Here: the bound. Not here: how long it is, which each request says (`Patience`).
"""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http.client import HTTPResponse
from socket import socket
from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, Retry

WHOLE_TIMEOUT = "whole_timeout"
"""A request's option: in how many seconds its answer has to be there, headers and body, once it has been sent."""
_LONGEST_SECONDS = 600.0
_BLOCK_BYTES = 32_768  # as the SDK's own adapter has it
_SECONDS: ContextVar[float] = ContextVar("seconds an answer may take", default=_LONGEST_SECONDS)


class BoundedTransport(RequestsTransport):  # type: ignore[misc]
    """A transport that takes the option `WHOLE_TIMEOUT`, ten minutes without it; a client's own, as any other."""

    def __init__(self) -> None:
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(
                scheme, _BoundedAdapter(max_retries=Retry(total=False, redirect=False, raise_on_status=False))
            )
        super().__init__(session=session)

    def send(self, request: Any, **options: Any) -> Any:
        """Send as the SDK does. An answer that is not whole in time is an AzureError, as one that does not come."""
        with _bound(options.pop(WHOLE_TIMEOUT, _LONGEST_SECONDS)):
            return super().send(request, **options)


@contextmanager
def _bound(seconds: float) -> Iterator[None]:
    token = _SECONDS.set(seconds)
    try:
        yield
    finally:
        _SECONDS.reset(token)


class _BoundedAdapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> HTTPConnectionPool:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        pool.conn_kw["blocksize"] = _BLOCK_BYTES
        pool.ConnectionCls = _bounded(type(pool).ConnectionCls)
        return pool  # type: ignore[no-any-return]


@cache
def _bounded(connection_class: type[Any]) -> type[Any]:
    """The same class of connections (plain, TLS, or through a proxy), whose answers are bounded."""
    return type(connection_class.__name__, (connection_class,), {"response_class": _BoundedResponse})


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_BoundedReads(self.fp.detach(), sock, time.monotonic() + _SECONDS.get()))


class _BoundedReads(io.RawIOBase):
    """Reads of a socket, each with the time that is left; the socket has its own timeout again afterwards."""

    def __init__(self, reads: Any, sock: socket, deadline: float) -> None:
        self._reads, self._socket, self._deadline = reads, sock, deadline
        self._timeout = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("The answer was not whole in time.")
        self._socket.settimeout(left if self._timeout is None else min(left, self._timeout))
        return self._reads.readinto(buffer)  # type: ignore[no-any-return]

    def close(self) -> None:
        if not self.closed:
            if self._socket.fileno() >= 0:
                self._socket.settimeout(self._timeout)
            self._reads.close()
        super().close()
