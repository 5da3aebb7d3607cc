"""An OpenID Connect issuer on this machine, for tests: real HTTP, real keys, tokens signed with them.

Here: what tests of tokens share. Not here: what a token opens (`tests.integration.test_api_security`).
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "api://geo"


class Issuer:
    """An issuer with one key, `one`, which remembers what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        self.documents: dict[str, Any] = {
            "/.well-known/openid-configuration": {"jwks_uri": f"{url}/keys"},
            "/keys": {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]},
        }

    def claims(self, **further: Any) -> dict[str, Any]:
        """What a token says that opens reading."""
        good = {"iss": self.url, "aud": AUDIENCE, "exp": time.time() + 300, "sub": "me", "roles": ["geo_assets.read"]}
        return {**good, **further}

    def token(self, *, signer: Any = None, algorithm: str = "RS256", kid: str = "one", **claims: Any) -> dict[str, str]:
        """The header with a token of these claims, signed by the issuer or by ``signer``."""
        text = jwt.encode(self.claims(**claims), signer or self._key, algorithm=algorithm, headers={"kid": kid})
        return {"Authorization": f"Bearer {text}"}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined]
        issuer.asked.append(self.path)
        body = json.dumps(issuer.documents.get(self.path, {})).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing."""


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer inside the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    server.issuer = issuer  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
