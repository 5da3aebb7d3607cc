"""HTTP proxies before a service: one that fails on some names, and one that shows a store of a million blobs.

Here: what a request asks for and an answer tells of. Not here: connections that go bad (`flaky_proxy`), and the
services (`tests.services`).
"""

import http.client
import re
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
_FAILED = b"<?xml version='1.0' encoding='utf-8'?><Error><Code>InternalError</Code><Message>A fault.</Message></Error>"
_BLOB = re.compile(r"<Blob>.*?</Blob>", re.DOTALL)
_NAME = re.compile(r"<Name>(.*?)</Name>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said: ``length`` is what a HEAD says of the body that it leaves out."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: str | None = None


class HttpProxy:
    """Carries requests to ``target`` on 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self.target = target

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def change(self, path: str, answer: Answer) -> Answer:  # noqa: ARG002
        """What the client gets instead of the service's answer."""
        return answer


class FailingNames(HttpProxy):
    """Answers 500 to what asks for one of ``names``, or would tell of one; they may change at any time."""

    def __init__(self, target: int, *names: str) -> None:
        super().__init__(target)
        self.names = names

    def change(self, path: str, answer: Answer) -> Answer:
        """A failure, or the service's answer."""
        if any(name in unquote(path) or name.encode() in answer.body for name in self.names):
            return Answer(500, {"Content-Type": "application/xml", "x-ms-error-code": "InternalError"}, _FAILED)
        return answer


@dataclass
class LargeFolder(HttpProxy):
    """Shows ``blobs`` more blobs in ``folder`` of ``container``, which exist only in its listings."""

    target: int
    container: str
    folder: str
    blobs: int

    @cached_property
    def _names(self) -> list[str]:
        return [f"{self.folder}/{number:09d}" for number in range(self.blobs)]

    def change(self, path: str, answer: Answer) -> Answer:
        """A page of a listing with what it has of the folder; any other answer as it is."""
        parts = urlsplit(path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        listed = query.get("comp") == "list" and parts.path.rstrip("/").endswith(f"/{self.container}")
        if not listed or "delimiter" in query or answer.status != 200:
            return answer
        text = answer.body.decode()
        real = {_NAME.search(blob)[1]: blob for blob in _BLOB.findall(text)}  # type: ignore[index]
        self._template: str = next(iter(real.values()), "") or self._template
        start, size = query.get("marker", ""), int(query.get("maxresults", 5000))
        first = max(0, int(start.rpartition("/")[2]) + 1) if start.startswith(f"{self.folder}/") else 0
        prefix = query.get("prefix", "")
        others = [name for name in self._names[first : first + size + 1] if name.startswith(prefix) and name > start]
        names = sorted([*real, *others])
        page, more = names[:size], len(names) > size
        entries = [real.get(name) or _NAME.sub(f"<Name>{name}</Name>", self._template, count=1) for name in page]
        marker = f"<NextMarker>{page[-1]}</NextMarker>" if more else "<NextMarker/>"
        body = f"<Blobs>{''.join(entries)}</Blobs>{marker}</EnumerationResults>"
        return replace(answer, body=(text.partition("<Blobs")[0] + body).encode())


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def _carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            found = connection.getresponse()
            headers = {name: value for name, value in found.headers.items() if name.lower() not in _HOP_BY_HOP}
            said = Answer(found.status, headers, found.read(), found.headers.get("Content-Length"))
            connection.close()
            answer = proxy.change(self.path, said)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            is_head = self.command == "HEAD"
            self.send_header("Content-Length", (is_head and answer.length) or str(len(answer.body)))
            self.end_headers()
            if not is_head:
                self.wfile.write(answer.body)
            self.wfile.flush()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _carry  # noqa: N815 - the names http.server gives them

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name http.server gives it
            """Say nothing."""

    return Handler
