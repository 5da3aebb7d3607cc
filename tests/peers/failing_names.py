"""An HTTP proxy before a service that cannot serve some names: 500 to what asks for one, or would tell of one.

Here: names, whatever else is in a request. Not here: a service that goes bad as a whole or in one container
(`flaky_proxy`), and the services (`tests.services`).
"""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote

_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
_FAILED = b"<?xml version='1.0' encoding='utf-8'?><Error><Code>InternalError</Code><Message>A fault.</Message></Error>"


class FailingNames:
    """Carries requests to ``target`` on 127.0.0.1; ``names`` are those that fail, and may change at any time."""

    def __init__(self, target: int, *names: str) -> None:
        self.target = target
        self.names = names

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def concern(self, path: str, answer: bytes) -> bool:
        """Whether a request or its answer has one of the names in it."""
        return any(name in unquote(path) or name.encode() in answer for name in self.names)


def _handler(service: FailingNames) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def _carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection("127.0.0.1", service.target, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content, length = answer.read(), answer.headers.get("Content-Length")
            connection.close()
            if service.concern(self.path, content):
                self.send_response_only(500)
                self.send_header("x-ms-error-code", "InternalError")
                content, length = _FAILED, None
            else:
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _carry  # noqa: N815 - the names http.server gives them

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name http.server gives it
            """Say nothing."""

    return Handler
