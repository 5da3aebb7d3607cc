"""Bytes from a store: the next page while one is worked on, a version of a blob to a file, the files of a Zarr store.

Not here: where a file lies (`scratch`), and what is in it.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from geo_assets.errors import BlobMissing
from geo_assets.models import BlobRef
from geo_assets.storage.blob_store import BlobStore
from geo_assets.workers.daemon_threads import start


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
