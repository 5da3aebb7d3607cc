"""Who asks, and what they may: keys of the settings, tokens of an OpenID Connect issuer such as Entra ID.

Here: from a request's headers to a caller with scopes, and the issuer's public keys, kept, and fetched again no more
often than is right. Not here: what a route requires (`gate`).
"""

import hashlib
import hmac
import re
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import anyio
import httpx
import jwt

from geo_assets.api.problems import IdentityUnavailable, Unauthenticated
from geo_assets.errors import InvalidConfiguration
from geo_assets.settings import Settings

Scope = Literal["read", "submit", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_IMPLIED: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset(SCOPES),
}
_SHORTEST_KEY = 20
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_LONGEST_CREDENTIAL = 16_384
_LONGEST_NAME = 128
_ROLE_PREFIX = "geo_assets."
# So many tokens are verified at a time: the threads that read pixels are others.
_VERIFIERS = 4
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request, and what it may do."""

    name: str
    scopes: frozenset[str]
    is_proven: bool = True


EVERYBODY_HERE = Principal("this machine", frozenset({"read", "submit", "write"}))
"""Whoever reaches an API that has neither keys nor an issuer, and so serves its own machine only."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the settings, of which only the digest is kept."""

    principal: Principal
    digest: bytes


class Access:
    """Tells who asks by the header they send."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys and the issuer; raises InvalidConfiguration, which never shows a key."""
        self._keys = parse_keys(settings.api_keys.get_secret_value() if settings.api_keys else "")
        self._issuer = _issuer(settings)

    @property
    def is_open(self) -> bool:
        """Whether callers need no proof of identity: such an API serves its own machine only."""
        return not self._keys and self._issuer is None

    async def identify(self, authorization: str | None, api_key: str | None) -> Principal:
        """Who sends these headers. Raises Unauthenticated, or IdentityUnavailable where the issuer gives no keys."""
        credential = api_key or _bearer(authorization)
        if credential is None:
            raise Unauthenticated("The request has no API key and no token.")
        if len(credential) > _LONGEST_CREDENTIAL:
            raise Unauthenticated(f"A key or token has at most {_LONGEST_CREDENTIAL:,} characters.")
        digest = hashlib.sha256(credential.encode()).digest()
        # Each key is compared, so that the time taken tells nothing.
        known = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if known:
            return known[0].principal
        if self._issuer is None or credential.count(".") != 2:
            raise Unauthenticated("Unknown API key.", remedy="Check the key, or ask your administrator for one.")
        return await self._issuer.identify(credential)


class Issuer:
    """An OpenID Connect issuer, and the audience its tokens must be for."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._url = issuer
        self._audience = audience
        self._keys = TokenKeys(issuer)
        self._verifiers: anyio.CapacityLimiter | None = None

    async def identify(self, token: str) -> Principal:
        """Whom the token names. Raises Unauthenticated, or IdentityUnavailable."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _refused(error) from error
        if header.get("alg") not in _ALGORITHMS:
            raise Unauthenticated("The token is refused: its algorithm is not accepted.")
        self._verifiers = self._verifiers or anyio.CapacityLimiter(_VERIFIERS)
        kid = str(header.get("kid", ""))
        return await anyio.to_thread.run_sync(self._verify, token, kid, limiter=self._verifiers)

    def _verify(self, token: str, kid: str) -> Principal:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys.find(kid),
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=self._url,
                leeway=30,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise _refused(error) from error
        granted = [*_words(claims.get("roles")), *_words(claims.get("scp")), *_words(claims.get("scope"))]
        name = claims.get("preferred_username") or claims.get("azp") or claims.get("appid") or claims.get("sub")
        return Principal(_shown(str(name)), _with_implied(_scope_of(word) for word in granted))


def parse_keys(text: str) -> list[ApiKey]:
    """The keys that the setting names, each NAME:SCOPES:KEY. Raises InvalidConfiguration, without the key in it."""
    return [_parse_key(entry, position) for position, entry in enumerate(text.split(), start=1)]


def _parse_key(entry: str, position: int) -> ApiKey:
    name, _, rest = entry.partition(":")
    scopes, _, key = rest.partition(":")
    asked = scopes.split("+")
    if not _NAME.fullmatch(name) or not key:
        raise _invalid(position, "it is not NAME:SCOPES:KEY")
    if unknown := set(asked) - set(SCOPES):
        raise _invalid(position, f"{', '.join(sorted(unknown))} is no scope; there are {', '.join(SCOPES)}")
    if key.startswith("sha256="):
        try:
            digest = bytes.fromhex(key.removeprefix("sha256="))
        except ValueError:
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise _invalid(position, "after sha256= come 64 hexadecimal digits")
    elif len(key) < _SHORTEST_KEY:
        raise _invalid(position, f"a key has {_SHORTEST_KEY} characters or more")
    else:
        digest = hashlib.sha256(key.encode()).digest()
    return ApiKey(Principal(name, _with_implied(asked)), digest)


def _invalid(position: int, words: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"GEO_ASSETS_API_KEYS, entry {position}: {words}.", remedy="Correct the entry; .env.example shows the form."
    )


def _issuer(settings: Settings) -> Issuer | None:
    url, audience = settings.api_oidc_issuer, settings.api_oidc_audience
    if url is None and audience is None:
        return None
    if url is None or audience is None:
        raise InvalidConfiguration(
            "GEO_ASSETS_API_OIDC_ISSUER and GEO_ASSETS_API_OIDC_AUDIENCE go together.", remedy="Set both, or neither."
        )
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise InvalidConfiguration("GEO_ASSETS_API_OIDC_ISSUER is not an https URL.", remedy="Use https.")
    return Issuer(url, audience)


def _bearer(authorization: str | None) -> str | None:
    scheme, _, credential = (authorization or "").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


def _words(claim: object) -> list[str]:
    if isinstance(claim, str):
        return claim.split()
    return [str(word) for word in claim] if isinstance(claim, list) else []


def _scope_of(word: str) -> str:
    """The scope that a role or scope of a token names: `read` or `geo_assets.read`. `Billing.Admin` is of another."""
    return word.lower().removeprefix(_ROLE_PREFIX)


def _shown(name: str) -> str:
    """A name as logs and records have it: of printable characters, and not without end."""
    return "".join(character if character.isprintable() else "?" for character in name[:_LONGEST_NAME])


def _refused(error: jwt.PyJWTError) -> Unauthenticated:
    return Unauthenticated(f"The token is refused: {type(error).__name__}.")


def _with_implied(scopes: Any) -> frozenset[str]:
    return frozenset().union(*(_IMPLIED.get(scope, frozenset()) for scope in scopes))


# A key that the issuer withdrew is believed no longer than this.
KEPT_SECONDS = 300.0
# A token that names an unknown key has the keys fetched, for the issuer may have a new one: at most this often.
UNKNOWN_SECONDS = 30.0
# ... and an issuer that does not answer is asked again after this.
RETRY_SECONDS = 5.0
_TIMEOUT_SECONDS = 10


class TokenKeys:
    """The keys that an issuer signs with."""

    def __init__(self, issuer: str) -> None:
        self._configuration = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")

    def find(self, kid: str) -> jwt.PyJWK:
        """The key of this id. Raises PyJWTError if there is none, IdentityUnavailable if the issuer does not answer."""
        is_fresh = time.monotonic() - self._fetched <= KEPT_SECONDS
        # While one asks after an unknown key, others of the kind are refused, and take no thread from who is known.
        if self._is_due(kid) and self._lock.acquire(blocking=not is_fresh):
            try:
                if self._is_due(kid):
                    self._fetch()
            finally:
                self._lock.release()
        if time.monotonic() - self._fetched > KEPT_SECONDS:
            raise IdentityUnavailable("The issuer's keys cannot be fetched.")
        if kid not in self._keys:
            raise jwt.InvalidKeyError("the issuer has no such key.")
        return self._keys[kid]

    def _is_due(self, kid: str) -> bool:
        """Whether the issuer is to be asked before anything can be said of this key."""
        now = time.monotonic()
        if now - self._fetched > KEPT_SECONDS:
            return now - self._tried > RETRY_SECONDS
        return kid not in self._keys and now - self._tried > UNKNOWN_SECONDS

    def _fetch(self) -> None:
        """Fetch the keys; where that fails the old ones stay for as long as they are believed."""
        try:
            configuration = httpx.get(self._configuration, timeout=_TIMEOUT_SECONDS)
            configuration.raise_for_status()
            answer = httpx.get(str(configuration.json()["jwks_uri"]), timeout=_TIMEOUT_SECONDS)
            answer.raise_for_status()
            keys = jwt.PyJWKSet.from_dict(answer.json()).keys
        except (httpx.HTTPError, jwt.PyJWTError, ValueError, KeyError, TypeError):
            return
        else:
            self._keys = {key.key_id: key for key in keys if key.key_id and key.public_key_use in ("sig", None)}
            self._fetched = time.monotonic()
        finally:
            self._tried = time.monotonic()
