"""A container of any number of blobs that exist only in its listings: for listings at a million, and for faults.

It speaks List Blobs (pages, markers, prefixes, the delimiter) to the real SDK. Azurite gets slow past some 20,000
blobs and cannot be told to fail. In a test: `with VirtualContainer(20_000) as container:`; as a process of its own:
`python -m tests.peers.virtual_container PORT BLOBS`.
"""

import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

CONTAINER = "virtual"
# The account of all emulators, with the key Microsoft publishes for it. Signatures are not checked here.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
MOST_A_PAGE = 5_000
BLOBS_A_FOLDER = 1_000
_LAST_CHARACTER = "\U0010ffff"
_MARKER = "2!after!"
_REWRITTEN = 1 << 56

# Split where a blob's own values go: building pages must cost little, for it takes from the time that is measured.
_BEFORE_NAME = "<Blob><Name>"
_BEFORE_TIME = (
    "</Name><Properties><Creation-Time>Wed, 01 May 2024 10:00:00 GMT</Creation-Time><Last-Modified>Wed, 01 May 2024 10:"
)
_BEFORE_ETAG = " GMT</Last-Modified><Etag>0x"
_AFTER_ETAG = (
    "</Etag><Content-Length>65536</Content-Length><Content-Type>image/tiff</Content-Type>"
    "<Content-Encoding/><Content-Language/><Content-MD5>AAECAwQFBgcICQoLDA0ODw==</Content-MD5>"
    "<Cache-Control/><Content-Disposition/><BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier>"
    "<AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>"
    "<LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties><OrMetadata/></Blob>"
)
_PAGE = (
    '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://127.0.0.1/"'
    ' ContainerName="{container}"><Blobs>{entries}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>'
)
_BUSY = b'<?xml version="1.0"?><Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>'
_REFUSED = b'<?xml version="1.0"?><Error><Code>OutOfRangeInput</Code><Message>Marker is out of range.</Message></Error>'


def blob_name(number: int) -> str:
    """The name of a blob; names sort as their numbers do, a thousand to a folder."""
    return f"scenes/{number // BLOBS_A_FOLDER:06d}/{number:09d}.tif"


@dataclass
class VirtualContainer:
    """The container's content and faults, all of which a test may change while it is served."""

    blobs: int
    port: int = 0
    gone: set[int] = field(default_factory=set)
    """Numbers of blobs that were deleted."""
    rewritten: set[int] = field(default_factory=set)
    """Numbers of blobs that were overwritten: they have another etag."""
    fail_at_page: int | None = None
    """Answer 503 to every request for this page, counted from 1, until it is set to None."""
    refuses_markers: bool = False
    """Answer 400 to every request with a marker, as if it were too old."""
    delay_seconds: float = 0.0
    """Wait so long before each page."""
    down: bool = False
    """Answer 503 to everything."""
    refused: list[str] = field(default_factory=list)
    """Path and query of each request that was refused because it was down."""
    served: list[int] = field(default_factory=list)
    """The number of the first blob of each page that was served, in the order of the requests."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def connection_string(self) -> str:
        """What AZURE_STORAGE_CONNECTION_STRING takes."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{self.port}/{ACCOUNT};"
        )

    def page(self, *, prefix: str, delimiter: str, marker: str, size: int) -> bytes | None:
        """One answer to List Blobs as Azure writes it, or None where the page is one that fails."""
        first, end = self._numbers(prefix)
        start = int(marker.removeprefix(_MARKER)) if marker else first
        if self.fail_at_page is not None and (start - first) // size + 1 == self.fail_at_page:
            return None
        self.served.append(start)
        if delimiter:
            return _page(self._level(start, end, prefix, delimiter), marker="")
        stop = min(start + size, end)
        entries = (self._entry(number) for number in range(start, stop) if number not in self.gone)
        return _page(entries, marker=f"{_MARKER}{stop}" if stop < end else "")

    def _numbers(self, prefix: str) -> tuple[int, int]:
        numbers = range(self.blobs)
        return (
            bisect_left(numbers, prefix, key=blob_name),
            bisect_left(numbers, prefix + _LAST_CHARACTER, key=blob_name),
        )

    def _level(self, start: int, end: int, prefix: str, delimiter: str) -> Iterator[str]:
        """Blobs and folders one level below the prefix."""
        number = start
        while number < end:
            path, found, _ = blob_name(number)[len(prefix) :].partition(delimiter)
            if found:
                folder = prefix + path + delimiter
                yield f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>"
                number = self._numbers(folder)[1]
            else:
                yield self._entry(number)
                number += 1

    def _entry(self, number: int) -> str:
        etag = number + _REWRITTEN if number in self.rewritten else number
        return (
            f"{_BEFORE_NAME}{blob_name(number)}{_BEFORE_TIME}{number // 60 % 60:02d}:{number % 60:02d}"
            f"{_BEFORE_ETAG}{etag:015X}{_AFTER_ETAG}"
        )


def _page(entries: Iterator[str], *, marker: str) -> bytes:
    return _PAGE.format(container=CONTAINER, entries="".join(entries), marker=marker).encode()


def _handler(container: VirtualContainer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if container.down:
                container.refused.append(self.path)
                self._answer(503, _BUSY)
                return
            query = {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}
            if query.get("comp") != "list":
                self._answer(404, b"")
                return
            if container.refuses_markers and query.get("marker"):
                self._answer(400, _REFUSED)
                return
            time.sleep(container.delay_seconds)
            page = container.page(
                prefix=query.get("prefix", ""),
                delimiter=query.get("delimiter", ""),
                marker=query.get("marker", ""),
                size=min(int(query.get("maxresults", MOST_A_PAGE)), MOST_A_PAGE),
            )
            self._answer(503, _BUSY) if page is None else self._answer(200, page)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name http.server gives it
            """Say nothing."""

    return Handler


def _main(port: str, blobs: str) -> None:
    with VirtualContainer(int(blobs), port=int(port)) as container:
        sys.stdout.write(f"{container.connection_string}\n")
        sys.stdout.flush()
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    _main(*sys.argv[1:3])
