"""Reading many headers at once from a blob store: bounded, and each failure typed.

Here: the threads, and which error is the blob's own. Not here: what a header says (`geo_assets.core.raster`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from geo_assets.core.range_file import RangeFile
from geo_assets.core.raster import read_raster_metadata
from geo_assets.errors import GeoAssetsError, StorageUnavailable, TransientError, Unauthorized
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.resources.blob_store import BlobStore

# So many blobs in a row that the store cannot deliver are the store's fault, not theirs.
STORE_IS_DOWN_AFTER = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading one blob: its metadata, or the error."""

    blob: BlobRef
    result: RasterMetadata | GeoAssetsError


def read_header(store: BlobStore, blob: BlobRef) -> RasterMetadata:
    """What the header of one blob says, by ranged reads of exactly the version ``blob`` names."""

    def read_range(offset: int, length: int) -> bytes:
        return store.read_range(blob, offset, length)

    with RangeFile(read_range, name=blob.name, size_bytes=blob.size_bytes) as file:
        return read_raster_metadata(file, bytes_read=lambda: file.bytes_read)


def read_headers(store: BlobStore, blobs: Sequence[BlobRef], *, concurrency: int) -> Iterator[Reading]:
    """Read the headers of ``blobs`` with ``concurrency`` reads in flight, in their order.

    Raises StorageUnavailable or Unauthorized once the store itself is seen to be the trouble; what
    was read until then has been yielded.
    """
    in_a_row = 0
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="header") as pool:
        try:
            for reading in pool.map(lambda blob: _read(store, blob), blobs):
                if isinstance(reading.result, Unauthorized):
                    raise reading.result
                in_a_row = in_a_row + 1 if isinstance(reading.result, TransientError) else 0
                if isinstance(reading.result, StorageUnavailable) and in_a_row >= STORE_IS_DOWN_AFTER:
                    raise reading.result
                yield reading
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(store: BlobStore, blob: BlobRef) -> Reading:
    try:
        return Reading(blob, read_header(store, blob))
    except GeoAssetsError as error:
        return Reading(blob, error)
