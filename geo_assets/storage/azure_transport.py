"""How Azure is asked: a transport of the SDK with a bound on a whole answer, and List Blobs' XML as blobs.

The SDK's own read timeout is that of one read: a service that sends a byte a second keeps a request waiting for weeks.
Reading the XML takes a tenth of the time that the SDK takes to build its own objects; the elements are those
of https://learn.microsoft.com/rest/api/storageservices/list-blobs#response. Not here: asking (`azure_blob_store`), and
how long an answer may take, which each request says (`Patience`).
"""

import io
import time
from binascii import a2b_base64
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache, lru_cache
from http.client import HTTPResponse
from socket import socket
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, Retry

from geo_assets.models import BlobRef

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def read_blobs(answer: Element) -> list[BlobRef]:
    """The blobs of one page; folders of an account with a hierarchical namespace are left out."""
    found = (_read_blob(element) for element in answer.iterfind("Blobs/Blob"))
    return [blob for blob in found if blob is not None]


def _read_blob(element: Element) -> BlobRef | None:
    name, properties = element.find("Name"), element.find("Properties")
    if name is None or not name.text or properties is None:
        raise ValueError("a blob without a name or properties")
    value = properties.findtext
    if value("ResourceType") == "directory":
        return None
    md5 = value("Content-MD5")
    return BlobRef(
        name=unquote(name.text) if name.get("Encoded") == "true" else name.text,
        etag=value("Etag", "").strip('"'),
        size_bytes=int(value("Content-Length", "0")),
        last_modified=_read_moment(value("Last-Modified", "")),
        content_type=value("Content-Type") or None,
        md5=a2b_base64(md5).hex() if md5 else None,
    )


@lru_cache(maxsize=4096)
def _read_moment(text: str) -> datetime:
    """A date as HTTP writes it, always of this width and in GMT: ``Wed, 01 May 2024 10:00:05 GMT``."""
    return datetime(
        int(text[12:16]),
        _MONTHS.index(text[8:11]) // 3 + 1,
        int(text[5:7]),
        int(text[17:19]),
        int(text[20:22]),
        int(text[23:25]),
        tzinfo=UTC,
    )


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
