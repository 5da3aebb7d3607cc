"""What every request passes first: who asks and whether they may, how often, how much; and what is said of it after.

Here: one ASGI middleware around the whole application, so that no route can be forgotten: what no rule opens needs the
scope admin. Not here: proving who the caller is (`access`).
"""

import re
import time
import uuid

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from geo_assets.api.access import EVERYBODY_HERE, Access, Principal, Scope
from geo_assets.api.callers import Hosts, network_of
from geo_assets.api.problems import (
    Forbidden,
    InvalidRequest,
    RequestTooLarge,
    TooManyRequestsMade,
    Unauthenticated,
    problem_response,
    server_failed,
)
from geo_assets.api.telemetry import Metrics
from geo_assets.errors import GeoAssetsError
from geo_assets.settings import Settings

CORRELATION_HEADER = "x-correlation-id"
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_READING = ("GET", "HEAD", "OPTIONS")
# Without data: the pages that ask for a key themselves, and what an orchestrator asks.
_OPEN_PATHS = re.compile(r"/(livez|readyz|static/.*|api/docs|(stac|raster|features)/api\.html)?")
# POST because the question is long, not because anything changes.
_ASKED_BY_POST = re.compile(r"/stac/search|/stac/(collections/[^/]+/)?aggregat(e|ions)|/raster/(?!searches/register).*")
_SUBMITTING = re.compile(r"/api/jobs/.*|/raster/searches/register")
_FAILED_TRIES_A_MINUTE = 30
_MOST_LOGGED = 500

log = structlog.get_logger("geo_assets.api")


def needed_scope(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None for what holds no data."""
    if method in _READING:
        return None if _OPEN_PATHS.fullmatch(path) else "read"
    if method == "POST" and _ASKED_BY_POST.fullmatch(path):
        return "read"
    if method == "POST" and _SUBMITTING.fullmatch(path):
        return "submit"
    return "write" if path.startswith("/stac/") else "admin"


class Gate:
    """The middleware around the application."""

    def __init__(self, app: ASGIApp, *, settings: Settings, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics
        self._hosts = Hosts(settings.api_hosts, is_open=access.is_open)
        self._most_bytes = int(settings.api_body_mb * 1_000_000)
        self._rate = RateLimitItemPerMinute(settings.api_requests_a_minute)
        self._failed_tries = RateLimitItemPerMinute(_FAILED_TRIES_A_MINUTE)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(CORRELATION_HEADER, "")
        passage = _Passage(given if _CORRELATION_ID.fullmatch(given) else uuid.uuid4().hex, send)
        scope.setdefault("state", {})["correlation_id"] = passage.correlation_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=passage.correlation_id)
        try:
            await self._pass(scope, headers, receive, passage)
        except GeoAssetsError as error:
            await passage.answer(error, scope, receive)
        except Exception as error:
            log.error("unforeseen", exc_info=error)
            await passage.answer(server_failed(), scope, receive)
        finally:
            self._tell(scope, passage)

    async def _pass(self, scope: AsgiScope, headers: Headers, receive: Receive, passage: "_Passage") -> None:
        path = scope["path"]
        if "\0" in path or "\\" in path or {".", ".."} & set(path.split("/")):
            raise InvalidRequest("The path contains `..`, a backslash or NUL.")
        self._hosts.require(scope, headers)
        client = network_of((scope.get("client") or ("unknown", 0))[0])
        principal = await self._identify(headers, client)
        passage.principal = principal
        scope["state"]["principal"] = principal
        needed = needed_scope(scope["method"], path)
        counted = ("known", principal.name) if principal.is_proven else ("address", client)
        if not await self._limiter.hit(self._rate, *counted):
            raise TooManyRequestsMade(f"More than {self._rate.amount:,} requests within a minute.")
        if needed is not None and needed not in principal.scopes:
            if not principal.is_proven:
                raise Unauthenticated("The request has no key and no token.")
            raise Forbidden(f"This request needs the scope `{needed}`.", remedy=_remedy(self._access.is_open))
        if int(headers.get("content-length") or 0) > self._most_bytes:
            raise RequestTooLarge(f"The body has more than {self._most_bytes:,} bytes.")
        await self._app(scope, _counted(receive, self._most_bytes), passage.send)

    async def _identify(self, headers: Headers, client: str) -> Principal:
        """Who asks. The key comes before the limit: whatever others of this address sent, who has a key is let in."""
        if self._access.is_open:
            return EVERYBODY_HERE
        authorization, key = headers.get("authorization"), headers.get("x-api-key")
        if authorization is None and key is None:
            return Principal(client, frozenset(), is_proven=False)
        try:
            return await self._access.identify(authorization, key)
        except Unauthenticated:
            if await self._limiter.hit(self._failed_tries, "failed", client):
                raise
        raise TooManyRequestsMade("Too many keys and tokens of this caller were refused.")

    def _tell(self, scope: AsgiScope, passage: "_Passage") -> None:
        seconds = time.perf_counter() - passage.began
        self._metrics.observe(scope["path"], scope["method"], passage.status, seconds)
        log.info(
            "request",
            method=scope["method"],
            path=scope["path"][:_MOST_LOGGED],  # without the query, which may hold what is nobody's business
            status=passage.status,
            milliseconds=round(1000 * seconds, 1),
            caller=passage.principal.name if passage.principal else None,
        )


class _Passage:
    """One request on its way: what was answered so far."""

    def __init__(self, correlation_id: str, send: Send) -> None:
        self.correlation_id = correlation_id
        self.principal: Principal | None = None
        self.status = 0
        self.began = time.perf_counter()
        self._send = send

    async def send(self, message: Message) -> None:
        """Send on, with the correlation id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[CORRELATION_HEADER] = self.correlation_id
        await self._send(message)

    async def answer(self, error: GeoAssetsError, scope: AsgiScope, receive: Receive) -> None:
        """Answer with the error, unless an answer has begun."""
        if self.status:
            return
        response = problem_response(error, correlation_id=self.correlation_id, path=scope["path"])
        await response(scope, receive, self.send)


def _counted(receive: Receive, most_bytes: int) -> Receive:
    """``receive``, which fails once the body has more than ``most_bytes``."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message: Message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            raise RequestTooLarge(f"The body has more than {most_bytes:,} bytes.")
        return message

    return counted


def _remedy(is_open: bool) -> str:
    if is_open:
        return "Set GEO_ASSETS_API_KEYS or GEO_ASSETS_API_OIDC_ISSUER (docs/guides/api.md)."
    return "Ask for a key or a role with this scope."
