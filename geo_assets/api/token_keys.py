"""The public keys of an OpenID Connect issuer, kept, and fetched anew no oftener than is right.

Here: when the issuer is asked. Not here: what a token must say (`access`). PyJWT's own client asks the issuer for each
token that names an unknown key, so that anybody could have this server flood it, and wait for it.
"""

import threading
import time

import httpx
import jwt

from geo_assets.api.problems import IdentityUnavailable

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
        """The key of this id. Raises PyJWTError where there is none, IdentityUnavailable where nobody can say."""
        is_fresh = time.monotonic() - self._fetched <= KEPT_SECONDS
        # While one asks after an unknown key, others of the kind are refused, and take no thread from who is known.
        if self._is_due(kid) and self._lock.acquire(blocking=not is_fresh):
            try:
                if self._is_due(kid):
                    self._fetch()
            finally:
                self._lock.release()
        if time.monotonic() - self._fetched > KEPT_SECONDS:
            raise IdentityUnavailable("the issuer's keys cannot be fetched.")
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
