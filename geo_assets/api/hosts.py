"""Which names the API answers to, and which pages may ask it without a key.

Here: the checks of `Host`, `Origin` and `Sec-Fetch-*`. Not here: keys (`access`), and who is a proxy (`forwarded`).

Without keys whoever reaches the API may use it, and every page that is open in a browser of this machine does reach it:
by its address, or by a name of its own that it points to 127.0.0.1. So both are looked at, for every request.
"""

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import Scope

from geo_assets.api.problems import Forbidden

_NAME_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d{1,5})?")
_OPEN_REMEDY = "Set GEO_ASSETS_API_KEYS or GEO_ASSETS_API_OIDC_ISSUER (docs/guides/api.md)."
_HOST_REMEDY = "Use a name of this server, or add this one to GEO_ASSETS_API_HOSTS (docs/guides/api.md)."
# An orchestrator asks these by the address of a container, which nobody can list before.
_PROBES = ("/livez", "/readyz")


class Hosts:
    """The names of this server: those of the setting, and without keys this machine's own."""

    def __init__(self, names: str | None, *, is_open: bool) -> None:
        """``names`` is the setting, with spaces or commas between them."""
        self._names = frozenset((names or "").lower().replace(",", " ").split())
        self._is_open = is_open

    def require(self, scope: Scope, headers: Headers) -> None:
        """Raise Forbidden for a request to another name, or, without keys, from elsewhere or from another's page."""
        self._require_name(scope, headers)
        if self._is_open:
            _require_here(scope)
            _require_own_page(scope, headers)

    def _require_name(self, scope: Scope, headers: Headers) -> None:
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
    """Whether a host's name or address is this machine's own, which nobody else reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_here(scope: Scope) -> None:
    server, caller = (scope.get("server") or ("", None))[0], (scope.get("client") or ("", None))[0]
    if not is_loopback(server) or not is_loopback(caller):
        raise Forbidden("Without keys this API serves its own machine only.", remedy=_OPEN_REMEDY)


def _require_own_page(scope: Scope, headers: Headers) -> None:
    """Raise Forbidden where a browser says that another's page asks; somebody following a link from there may come.

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
