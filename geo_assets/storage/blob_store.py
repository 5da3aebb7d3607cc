"""What geo_assets asks of any blob store, how it reads through one, and which stores failed in this process.

Here: the Protocol every store fulfils (list, look at one blob, read a range of one version or a sidecar, give an
address) and how long it waits for an answer; the next page while one is worked on, a version of a blob to a file, the
files of a Zarr store; and the sources whose store failed a batch, which is asked once before the next one and not for
every blob. Each process remembers these for itself, because a store may be away from one host only. Not here: the
stores (`local_blob_store`, `azure_blob_store`), where a file lies (`scratch`), and when a store counts as down within a
batch (`geo_assets.raster.reader`).
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from geo_assets.errors import BlobMissing, StorageUnavailable
from geo_assets.models import BlobPage, BlobRef
from geo_assets.storage.azure_transport import WHOLE_TIMEOUT
from geo_assets.workers.daemon_threads import start


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a store has: to take a connection, to send more of its answer, and to send all of it.

    A request that failed is tried again within ``retry_seconds`` of the first try only.
    """

    connect_seconds: float
    read_seconds: float
    whole_seconds: float
    retry_seconds: float

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of a request of the Azure SDK."""
        return {
            "connection_timeout": self.connect_seconds,
            "read_timeout": self.read_seconds,
            WHOLE_TIMEOUT: self.whole_seconds,
        }


LONG_PATIENCE = Patience(connect_seconds=10, read_seconds=30, whole_seconds=120, retry_seconds=60)
"""Of a run, which has one store."""
SHORT_PATIENCE = Patience(connect_seconds=5, read_seconds=15, whole_seconds=20, retry_seconds=5)
"""Of a look, which is made again soon: before the next one a store has answered, or it counts as down."""


class BlobStore(Protocol):
    """A container (or a folder) that can be listed and read."""

    def list_pages(self, prefix: str, *, marker: str | None = None) -> Iterator[BlobPage]:
        """Every blob whose name starts with ``prefix``, page by page; after ``marker``, where a page gave one.

        Raises StorageUnavailable, Unauthorized, MarkerRefused or InvalidConfiguration (no such container);
        never ends early without raising.
        """
        ...

    def list_level(self, prefix: str) -> Iterator[str]:
        """The names one level below ``prefix`` ("" or ending with a slash): blobs, and folders with a slash.

        Raises what `list_pages` raises.
        """
        ...

    def head(self, name: str) -> BlobRef | None:
        """The blob ``name`` as it is now, as a listing shows it but for its sidecars; None where there is none.

        Raises StorageUnavailable, Unauthorized, InvalidConfiguration (no such container).
        """
        ...

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset`` of this version of the blob, fewer only at its end.

        Raises BlobChanged where the blob has another etag by now, BlobMissing where it is gone,
        StorageUnavailable, Unauthorized.
        """
        ...

    def read_sidecar(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of the blob ``name`` as it is now; None where there is none.

        Raises StorageUnavailable, Unauthorized.
        """
        ...

    def href(self, name: str) -> str:
        """The address that readers of the catalogue use for the blob."""
        ...


@dataclass(frozen=True, slots=True)
class BlobStoreFiles:
    """What lies below ``folder`` in ``store``, as it is at that moment; fulfils `StoreFiles`."""

    store: BlobStore
    folder: str

    def read(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of a file, None where there is none."""
        return self.store.read_sidecar(f"{self.folder}/{name}", most)

    def folders(self, path: str) -> Iterator[str]:
        """The names of the folders in the folder ``path`` ("" the store itself)."""
        start = f"{self.folder}/{path}/" if path else f"{self.folder}/"
        for name in self.store.list_level(start):
            if name.endswith("/"):
                yield name.removeprefix(start).rstrip("/")


Page = TypeVar("Page")


@contextmanager
def reading_ahead(pages: Iterator[Page]) -> Iterator[Iterator[Page]]:
    """The same pages, each fetched in a thread while its predecessor is in use; one page ahead, never more.

    What fetching raises is raised where that page would have come. On leaving, a fetch under way is waited for.
    """
    ahead = _Ahead(pages)
    try:
        yield iter(ahead)
    finally:
        wait([ahead.following])


class _Ahead(Generic[Page]):
    def __init__(self, pages: Iterator[Page]) -> None:
        self._fetch = partial(next, pages, None)
        self.following: Future[Page | None] = start(self._fetch, name="read-ahead")

    def __iter__(self) -> Iterator[Page]:
        while (page := self.following.result()) is not None:
            self.following = start(self._fetch, name="read-ahead")
            yield page


RANGE_BYTES = 8 * 1024**2
_THREADS = 4


def download(store: BlobStore, blob: BlobRef, path: Path) -> None:
    """Write this version of the blob to ``path``.

    Raises BlobChanged once it is another, BlobMissing where it is gone or ends early, what else `BlobStore.read_range`
    raises, and OSError where the disk takes no more.
    """

    def download_range(offset: int) -> None:
        content = store.read_range(blob, offset, RANGE_BYTES)
        if len(content) != min(RANGE_BYTES, blob.size_bytes - offset):
            raise BlobMissing(f"{blob.name} ended at {offset + len(content):,} of {blob.size_bytes:,} bytes.")
        left = memoryview(content)
        while left:  # a disk that fills takes a part first, and only then refuses
            written = os.pwrite(file.fileno(), left, offset)
            left, offset = left[written:], offset + written

    with path.open("wb") as file, ThreadPoolExecutor(_THREADS, thread_name_prefix="download") as threads:
        for _ in threads.map(download_range, range(0, blob.size_bytes, RANGE_BYTES)):
            pass


class CircuitBreaker:
    """Open for the sources whose last batch ended because their store was down."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    @contextmanager
    def guard(self, source: str, *, probe: Callable[[], object], report: Callable[[str], None]) -> Iterator[None]:
        """Do the block, which is one batch of ``source``; where the batch before failed, ``probe`` the store first.

        Raises what ``probe`` raises, before the block. A store that answers is reported and trusted again.
        """
        if source in self._open:
            try:
                probe()
            except StorageUnavailable as error:
                raise StorageUnavailable(
                    f"Storage of source `{source}` is still unavailable; this batch was skipped. {error.message}",
                    remedy="Check the storage account; the next run retries.",
                ) from error
            self._open.discard(source)
            report(f"Storage of source `{source}` is available again.")
        try:
            yield
        except StorageUnavailable:
            self._open.add(source)
            raise


circuit_breaker = CircuitBreaker()
"""This process's own."""
