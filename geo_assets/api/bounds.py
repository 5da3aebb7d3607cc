"""How much a request may send, and how long: lines and headers, sizes of chunks, trailers, and bodies to be parsed.

Here: uvicorn's protocol with bounds on what is not a body, and bodies refused from their bytes, before anything is made
of them. What has no end is read before its sender is known: without a bound a header of 200 MB took 2 GB of memory.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from geo_assets.api.problems import Busy, InvalidRequest, RequestTooLarge, SentTooSlowly

MOST_DEPTH = 100
MOST_QUERY_BYTES = 65_536
MOST_PARAMETERS = 1_000
MOST_WAITING_BYTES = 128 * 1024 * 1024
"""Of the bodies of all requests, beyond the first `HEAVY_BYTES` of each: so small ones always have room."""
SECONDS_OF_SENDING = 120.0
"""So long a body may take to come."""
HEAVY_BYTES = 32_768
"""A body of more bytes is looked at, parsed and answered beside the event loop."""
HEAVY_LIMIT = 1_000
"""So is a search for more items than this."""
_WRITES = re.compile(r"/stac/collections(/[^/]+(/items(/[^/]+)?|/bulk_items)?)?")
_A_POSITION = re.compile(rb"\[\s*-?\d")
_NOT_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_REMEDY = "Ask in several requests, or for less (docs/guides/api.md has the limits)."


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The most of each in one body."""

    values: int
    vertices: int
    ids: int = 10_000
    collections: int = 1_000


QUESTION = RequestLimits(values=60_000, vertices=10_000)
"""Of searches, aggregations, pictures, jobs: whatever writes nothing to the catalogue."""
WRITE = RequestLimits(values=500_000, vertices=100_000)
"""Of items and collections that are written, many at once."""


class Bounded:
    """The middleware around the application's routes: takes in each body, and refuses what is more than its limits."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body. Raises RequestTooLarge naming the number and the limit, and what `_body`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        require_bounded_query(scope["query_string"])
        held = _Held()
        try:
            body = await self._body(receive, held)
            await self._pass_on(scope, body, receive, send)
        finally:
            self._waiting_bytes -= held.bytes

    async def _body(self, receive: Receive, held: "_Held") -> bytes:
        """The whole body. Raises SentTooSlowly, InvalidRequest, and Busy where others' bodies fill what there is."""
        parts: list[bytes] = []
        received = 0
        try:
            async with asyncio.timeout(SECONDS_OF_SENDING):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise InvalidRequest("The connection ended before the body did.")
                    parts.append(message.get("body", b""))
                    received += len(parts[-1])
                    more = max(0, received - HEAVY_BYTES) - held.bytes
                    if self._waiting_bytes + more > MOST_WAITING_BYTES:
                        raise Busy("As many large bodies are being received as this server takes on.")
                    held.bytes += more
                    self._waiting_bytes += more
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise SentTooSlowly(f"The body was not complete after {SECONDS_OF_SENDING:.0f} s.") from None

    async def _pass_on(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        writes = scope["method"] != "GET" and _WRITES.fullmatch(scope["path"]) is not None
        heavy = len(body) > HEAVY_BYTES
        limits = WRITE if writes else QUESTION
        document = await run_in_threadpool(_read, body, limits) if heavy else _read(body, limits)
        if (scope["method"], scope["path"]) == ("POST", "/stac/search"):
            _require_object(document, scope)
        asked = (document or {}).get("limit") or dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("limit")
        scope.setdefault("state", {})["heavy"] = heavy or _number(asked) > HEAVY_LIMIT
        await self._app(scope, replayed(body, receive), send)


@dataclass(slots=True)
class _Held:
    """How many bytes of a request's body are counted among those that wait."""

    bytes: int = 0


def require_bounded_query(query: bytes) -> None:
    """Raise RequestTooLarge where a query has too many bytes, or a parameter too many parts or too deep ones."""
    if len(query) > MOST_QUERY_BYTES:
        raise _too_large("query", len(query), "bytes", MOST_QUERY_BYTES)
    if (parameters := query.count(b"&") + 1) > MOST_PARAMETERS:
        raise _too_large("query", parameters, "parameters", MOST_PARAMETERS)
    for name, value in parse_qsl(query.decode("latin-1")):
        most = {"ids": QUESTION.ids, "collections": QUESTION.collections}.get(name, QUESTION.vertices)
        if (parts := value.count(",") + 1) > most:
            raise _too_large(f"parameter `{name}`", parts, "parts", most)
        if value.lstrip()[:1] in ("{", "["):
            require_bounded(value.encode("utf-8", "replace"), QUESTION, what=f"parameter `{name}`")


def require_bounded(body: bytes, limits: RequestLimits, *, what: str = "body") -> None:
    """Raise RequestTooLarge where JSON has more values, vertices or levels than ``limits`` let; parses nothing."""
    arrays = body.count(b"[")
    values = arrays + body.count(b"{") + body.count(b",")
    if values > limits.values:
        raise _too_large(what, values, "values", limits.values)
    if arrays > limits.vertices and (vertices := sum(1 for _ in _A_POSITION.finditer(body))) > limits.vertices:
        raise _too_large(what, vertices, "vertices", limits.vertices)
    if body.count(b"[") + body.count(b"{") > MOST_DEPTH and _is_deep(body):
        raise RequestTooLarge(f"The {what} has more than {MOST_DEPTH} levels.", remedy=_REMEDY)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives ``body``, and then what ``receive`` gives."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            message: Message = await receive()
            return message
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _require_object(document: Mapping[str, Any] | None, scope: Scope) -> None:
    """Raise InvalidRequest where a search is none: the library's model takes for granted that it has names."""
    content_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if document is None or not re.fullmatch(r"application/(\S+\+)?json", content_type):
        raise InvalidRequest("A search must be a JSON object with the header Content-Type: application/json.")


def _read(body: bytes, limits: RequestLimits) -> Mapping[str, Any] | None:
    """The document of a question, once it is known to be bounded; None for what is no JSON object, or is written."""
    require_bounded(body, limits)
    if limits is WRITE or not body:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None  # its route says what is wrong with it
    if not isinstance(document, dict):
        return None
    for name, most in (("ids", limits.ids), ("collections", limits.collections)):
        if isinstance(given := document.get(name), list) and len(given) > most:
            raise _too_large("body", len(given), name, most)
    return document


def _is_deep(body: bytes) -> bool:
    """Whether brackets outside of strings are nested too deep: each pass takes away the innermost."""
    quoted = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_BRACKETS)
    brackets = b"".join(quoted.split(b'"')[::2])
    for _ in range(MOST_DEPTH):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):  # no JSON: what is left is never closed
            return brackets.count(b"[") + brackets.count(b"{") > MOST_DEPTH
        brackets = fewer
    return bool(brackets)


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _too_large(what: str, number: int, of: str, most: int) -> RequestTooLarge:
    return RequestTooLarge(f"The {what} has {number:,} {of}; the limit is {most:,}.", remedy=_REMEDY)


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
    """The protocol of a connection, which ends it if what is sent completes no request and no part of a body."""

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
