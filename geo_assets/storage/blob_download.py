"""Downloading one version of a blob to a file: in ranges, several at a time, never of two versions.

Here: the bytes. Not here: where the file lies (`scratch`), and what is in it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from geo_assets.errors import BlobMissing
from geo_assets.models import BlobRef
from geo_assets.storage.blob_store import BlobStore

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
