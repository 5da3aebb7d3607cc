"""What every request passes first: where it comes from, who asks and whether they may, how often, how much.

Here: one ASGI middleware around the whole application, so that no route can be forgotten: what no rule opens needs the
scope admin; proxies that are believed, hosts the API answers to, pages that may ask without a key, all looked at before
a key is; and what is said of a request after. Not here: keys and tokens (`access`).
"""

import ipaddress
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from geo_assets.api.access import EVERYBODY_HERE, Access, Principal, Scope
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
from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_WORDS = ("localhost", "loopback")
_LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::\d{1,5})?")
_WITH_PORT = re.compile(r"([\d.]+):\d{1,5}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_REMEDY = "Name the addresses or networks of your proxies, as 10.0.0.5,172.30.250.0/24 (docs/operate/deployment.md)."
_NAME_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d{1,5})?")
_OPEN_REMEDY = "Set GEO_ASSETS_API_KEYS or GEO_ASSETS_API_OIDC_ISSUER (docs/guides/api.md)."
_HOST_REMEDY = "Use a name of this server, or add this one to GEO_ASSETS_API_HOSTS (docs/guides/api.md)."
# An orchestrator asks these by the address of a container, which nobody can list before.
_PROBES = ("/livez", "/readyz")
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


@dataclass(frozen=True, slots=True)
class Proxies:
    """The networks of the proxies whose X-Forwarded headers are believed."""

    networks: tuple[Network, ...] = ()

    def trust(self, host: str) -> bool:
        """Whether the address is that of such a proxy."""
        address = address_of(host)
        return address is not None and any(address in network for network in self.networks)

    def caller(self, peer: str, hops: Iterable[str]) -> str:
        """The address that calls: the last of ``peer`` and the ``hops`` of its header that is no such proxy."""
        caller = peer
        for hop in reversed(list(hops)):
            address = address_of(hop) if self.trust(caller) else None
            if address is None:  # whoever stands further left was named by somebody whom nobody knows
                return caller
            caller = str(address)
        return caller


def parse_proxies(text: str) -> Proxies:
    """The proxies of a list with commas, each an address, a network or `loopback`. Raises InvalidConfiguration."""
    networks: list[Network] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word in _WORDS:
            networks.extend(_LOOPBACK)
            continue
        try:
            network = ipaddress.ip_network(word)
        except ValueError as error:
            if word == "*":
                raise _everybody(word) from None
            raise InvalidConfiguration(
                f"`--behind-proxy` names `{word[:100]}`, which is no address and no network: {error}.", remedy=_REMEDY
            ) from None
        if network.prefixlen == 0:
            raise _everybody(word)
        networks.append(network)
    if not networks:
        raise InvalidConfiguration("`--behind-proxy` names no address.", remedy=_REMEDY)
    return Proxies(tuple(networks))


def _everybody(word: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"`--behind-proxy` is `{word}`: then every caller could pose as another by X-Forwarded-For.", remedy=_REMEDY
    )


def address_of(text: str) -> Address | None:
    """The address that the text is, with or without a port; None for anything else. IPv4 in IPv6 is IPv4."""
    text = text.strip()
    found = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(found[1] if found else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def network_of(host: str) -> str:
    """What callers are counted by: an IPv4 address, or the /64 of an IPv6 one, which one customer has all of."""
    address = address_of(host)
    if address is None:
        return "unknown"
    return str(address if address.version == 4 else ipaddress.ip_network((int(address), 64), strict=False))


class Forwarded:
    """The middleware that puts the caller's address, scheme and host in place of the proxy's."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass the request on as its caller made it."""
        if scope["type"] == "http":
            scope = self._as_called(scope)
        await self._app(scope, receive, send)

    def _as_called(self, scope: AsgiScope) -> AsgiScope:
        peer, port = scope.get("client") or ("unknown", 0)
        told = {name: _words(scope["headers"], name) for name in (b"for", b"proto", b"host")}
        headers = [pair for pair in scope["headers"] if not _is_forwarded(pair[0])]
        changed = {**scope, "headers": headers}
        if not self._proxies.trust(peer):
            return changed
        caller = self._proxies.caller(peer, told[b"for"])
        changed["client"] = (caller, port if caller == peer else 0)
        if told[b"proto"] and told[b"proto"][-1] in ("http", "https"):
            changed["scheme"] = told[b"proto"][-1]
        if told[b"host"] and _HOST.fullmatch(told[b"host"][-1]):
            host = (b"host", told[b"host"][-1].encode("latin-1"))
            changed["headers"] = [host, *(pair for pair in headers if pair[0] != b"host")]
        return changed


def _words(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """What all X-Forwarded headers of this name list, in order."""
    values = [value.decode("latin-1") for key, value in headers if key == b"x-forwarded-" + name]
    return [word.strip() for value in values for word in value.split(",")]


def _is_forwarded(name: bytes) -> bool:
    return name == b"forwarded" or name.startswith(b"x-forwarded-")


class Hosts:
    """The names of this server: those of the setting, and without keys this machine's own."""

    def __init__(self, names: str | None, *, is_open: bool) -> None:
        """``names`` is the setting, with spaces or commas between them."""
        self._names = frozenset((names or "").lower().replace(",", " ").split())
        self._is_open = is_open

    def require(self, scope: AsgiScope, headers: Headers) -> None:
        """Raise Forbidden for a request to another name, or, without keys, from elsewhere or from another's page."""
        self._require_name(scope, headers)
        if self._is_open:
            _require_here(scope)
            _require_own_page(scope, headers)

    def _require_name(self, scope: AsgiScope, headers: Headers) -> None:
        if not self._is_open and (not self._names or scope["path"] in _PROBES):
            return
        hosts = headers.getlist("host")
        name = name_of(hosts[0]) if len(hosts) == 1 else ""
        if name in self._names or (self._is_open and is_loopback(name)):
            return
        shown = ", ".join(hosts)[:100]
        raise Forbidden(f"This server does not answer to the name `{shown}`.", remedy=_HOST_REMEDY)


def name_of(host: str) -> str:
    """The name or address of a `Host` header, without its port and brackets; empty for what is none."""
    found = _NAME_AND_PORT.fullmatch(host.strip().lower())
    return found[1].strip("[]").removesuffix(".") if found else ""


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, which no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_here(scope: AsgiScope) -> None:
    server, caller = (scope.get("server") or ("", None))[0], (scope.get("client") or ("", None))[0]
    if not is_loopback(server) or not is_loopback(caller):
        raise Forbidden("Without keys this API serves its own machine only.", remedy=_OPEN_REMEDY)


def _require_own_page(scope: AsgiScope, headers: Headers) -> None:
    """Raise Forbidden if a browser says that another site's page asks; a person who follows a link from there may come.

    Programs send none of these headers, and are served.
    """
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    own = f"{scope['scheme']}://{headers.get('host', '')}"
    follows = (
        scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    if (origin is not None and origin.lower() != own.lower()) or (site not in ("none", "same-origin") and not follows):
        raise Forbidden("A page of another origin asks.", remedy=_OPEN_REMEDY)


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
