"""Reading many headers from a blob store: in worker processes, many ranges in flight, each failure typed.

Here: what a worker does to a chunk of blobs, and which errors are the store's and not a blob's own.
Not here: the processes (`workers.pool`), what a header says (`geo_assets.raster.header`).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, islice
from math import ceil

from geo_assets.errors import (
    GeoAssetsError,
    StorageUnavailable,
    TooLarge,
    Unauthorized,
)
from geo_assets.foreign_errors import reason_of
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.raster.footprint import read_valid_area, with_footprint
from geo_assets.raster.formats.reading import place, read_metadata, read_structure
from geo_assets.raster.formats.vrt import MOST_BYTES as MOST_VRT_BYTES
from geo_assets.raster.formats.vrt import read_vrt_metadata
from geo_assets.raster.formats.zarr import read_zarr_metadata
from geo_assets.raster.header import gdal_environment
from geo_assets.raster.io import RangeFile
from geo_assets.raster.sniff import HEAD_BYTES, is_vrt
from geo_assets.raster.tiff import TiffStructure
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import BlobStore, BlobStoreFiles
from geo_assets.storage.blob_stores import StoreAccess, open_handed
from geo_assets.storage.related_blobs import MAX_SIDECAR_BYTES, is_store_root, placing_names, store_folder
from geo_assets.workers.pool import Work, WorkerPool, shared_pool

# So many blobs in a row that the store cannot deliver are the store's fault, not theirs.
STORE_IS_DOWN_AFTER = 8
# A chunk is large enough to hide one latency, and small enough to lose when its worker dies.
SMALLEST_CHUNK, LARGEST_CHUNK = 16, 250


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading one blob: its metadata, or the error."""

    blob: BlobRef
    result: RasterMetadata | GeoAssetsError


def read_headers(
    source: Source,
    blobs: Sequence[BlobRef],
    *,
    access: Callable[[], StoreAccess],
    settings: Settings,
    pool: WorkerPool | None = None,
) -> Iterator[Reading]:
    """Read the headers of ``blobs`` in worker processes; a blob that kills its worker gets the reason.

    ``access`` gives what opens the source's store, with a token that is fresh where a token opens it. Raises
    StorageUnavailable or Unauthorized once the store itself is seen to be the trouble; what was read until then has
    been yielded.
    """
    pool = pool or shared_pool(settings, access().enclosure)
    chunk_size = max(SMALLEST_CHUNK, min(LARGEST_CHUNK, ceil(len(blobs) / (2 * settings.workers))))

    def work() -> Work[BlobRef, Reading]:
        return partial(read_chunk, source, access(), settings.read_concurrency)

    in_a_row = 0
    with closing(pool.map_renewed(work, blobs, chunk_size=chunk_size, lost=Reading)) as readings:
        for reading in readings:
            if isinstance(reading.result, Unauthorized):
                raise reading.result
            if isinstance(reading.result, StorageUnavailable):
                if (in_a_row := in_a_row + 1) >= STORE_IS_DOWN_AFTER:
                    raise reading.result
            else:
                in_a_row = 0
            yield reading


def read_chunk(
    source: Source, access: StoreAccess, most: int, blobs: Sequence[BlobRef], start: Callable[[int], None]
) -> list[Reading]:
    """In a worker: the headers of ``blobs``, parsed one after the other while the next ones are fetched.

    At most ``most`` requests are in flight.
    """
    store = _KEPT_OPEN.store(access)
    headers = fetch_ahead(store, blobs, threads=_threads(most), pace=_pace(access.place, most))
    with gdal_environment():
        return [
            _parse(source, store, blob, header, partial(start, index)) for index, (blob, header) in enumerate(headers)
        ]


@dataclass(slots=True)
class Pace:
    """How many requests the latency of a store asks for, at most ``most``; learnt as they are answered.

    To keep the consumer busy takes latency / (time it spends on a blob) requests; twice that rides out
    jitter. The smallest latency seen counts, since what is above it is queueing of our own making.
    """

    most: int
    window: int = 4
    latency: float = float("inf")
    spent: float = 1e-3

    def learn(self, *, latency: float, spent: float) -> None:
        """Take the seconds that one request took, and those the consumer spent on what it brought."""
        self.latency = min(self.latency, latency)
        self.spent += 0.2 * (spent - self.spent)
        self.window = min(self.most, 2 + 2 * ceil(self.latency / max(self.spent, 1e-4)))


def fetch_ahead(
    store: BlobStore, blobs: Sequence[BlobRef], *, threads: ThreadPoolExecutor, pace: Pace
) -> Iterator[tuple[BlobRef, "_Header | GeoAssetsError"]]:
    """Each blob with the ranges of its header fetched, in order, as many requests in flight as ``pace`` says.

    Once the store is seen to be down, the rest gets the error of the blob that showed it, and is not asked for.
    """
    waiting = iter(blobs)
    in_flight: deque[tuple[BlobRef, Future[_Fetched]]] = deque()
    in_a_row = 0
    while True:
        for blob in islice(waiting, max(0, pace.window - len(in_flight))):
            in_flight.append((blob, threads.submit(_fetch, store, blob)))
        if not in_flight:
            return
        blob, future = in_flight.popleft()
        fetched = future.result()
        if isinstance(fetched.header, StorageUnavailable | Unauthorized):
            yield blob, fetched.header
            in_a_row += 1
            if isinstance(fetched.header, Unauthorized) or in_a_row >= STORE_IS_DOWN_AFTER:
                yield from ((left, fetched.header) for left in chain((left for left, _ in in_flight), waiting))
                return
            continue
        in_a_row = 0
        began = time.perf_counter()
        yield blob, fetched.header
        pace.learn(latency=fetched.seconds, spent=time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class _Header:
    file: RangeFile
    structure: TiffStructure | None
    sidecars: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Fetched:
    header: _Header | GeoAssetsError
    seconds: float


def _fetch(store: BlobStore, blob: BlobRef) -> _Fetched:
    began = time.perf_counter()
    file = RangeFile(partial(store.read_range, blob), name=blob.name, size_bytes=blob.size_bytes)
    try:
        file.fetch_start()
        latency = time.perf_counter() - began
        is_other = is_store_root(blob.name) or _is_vrt(file)
        structure = None if is_other else read_structure(file)
        return _Fetched(_Header(file, structure, _fetch_sidecars(store, blob)), latency)
    except Exception as error:  # noqa: BLE001  a file's own reason, whatever it is
        return _Fetched(reason_of(error), time.perf_counter() - began)


def _fetch_sidecars(store: BlobStore, blob: BlobRef) -> dict[str, bytes]:
    """The world file and the .prj of a blob that the listing saw beside it: the first that is there of each."""
    found: dict[str, bytes] = {}
    for name in placing_names(blob.name) if blob.has_sidecars else ():
        is_prj = name.lower().endswith(".prj")
        if any(other.lower().endswith(".prj") is is_prj for other in found):
            continue
        if (content := store.read_sidecar(name, MAX_SIDECAR_BYTES)) is not None:
            found[name] = content
    return found


def _is_vrt(file: RangeFile) -> bool:
    file.seek(0)
    return is_vrt(file.read(HEAD_BYTES))


def _parse(
    source: Source, store: BlobStore, blob: BlobRef, header: _Header | GeoAssetsError, start: Callable[[], None]
) -> Reading:
    if isinstance(header, GeoAssetsError):
        return Reading(blob, header)
    start()
    try:
        with header.file as file:
            if is_store_root(blob.name) or (source.vrt and _is_vrt(file)):
                return Reading(blob, _describe_document(source, store, blob, header))
            return Reading(blob, _describe(source, file, header))
    except Exception as error:  # noqa: BLE001  a file's own reason, whatever it is
        return Reading(blob, reason_of(error))


def _describe(source: Source, file: RangeFile, header: _Header) -> RasterMetadata:
    metadata = read_metadata(
        file,
        structure=header.structure,
        bytes_read=lambda: file.bytes_read,
        statistics_budget_bytes=source.read_budget if source.statistics else None,
    )
    metadata = place(metadata, sidecars=header.sidecars, assume_crs=source.assume_crs)
    if not source.footprint.valid_data or header.structure is None:
        return with_footprint(metadata)
    # Of the level that statistics are of, so that both together cost its bytes once.
    area = read_valid_area(
        file,
        header.structure,
        budget_bytes=source.read_budget,
        tolerance_pixels=source.footprint.tolerance_pixels,
    )
    return replace(with_footprint(metadata, area), bytes_read=file.bytes_read)


def _describe_document(source: Source, store: BlobStore, blob: BlobRef, header: _Header) -> RasterMetadata:
    """What a document says that represents data in other blobs: a Zarr store's root, or a VRT."""
    header.file.seek(0)
    if is_store_root(blob.name):
        folder = store_folder(blob.name)
        root = blob.name.removeprefix(f"{folder}/")
        metadata = read_zarr_metadata(BlobStoreFiles(store, folder), root=root, content=header.file.read())
    else:
        if blob.size_bytes > MOST_VRT_BYTES:
            raise TooLarge(f"The VRT has more than {MOST_VRT_BYTES:,} bytes.", remedy="Split it into smaller ones.")
        metadata = read_vrt_metadata(header.file.read(), name=blob.name, prefix=source.prefix, head=store.read_sidecar)
        metadata = replace(metadata, bytes_read=header.file.bytes_read)
    if source.statistics:
        metadata = replace(metadata, statistics_source="none: pixels are read of GeoTIFFs only")
    return with_footprint(place(metadata, sidecars=header.sidecars, assume_crs=source.assume_crs))


class _KeptOpen:
    """This worker's connection to the store it last read, kept for its next chunk; a new token opens a new one."""

    def __init__(self) -> None:
        self._access: StoreAccess | None = None
        self._store: BlobStore
        self._stack = ExitStack()

    def store(self, access: StoreAccess) -> BlobStore:
        """The store that ``access`` opens."""
        if access != self._access:
            self._access = None
            self._stack.close()
            self._store = self._stack.enter_context(open_handed(access))
            self._access = access
        return self._store


# A connection that nothing names is closed as soon as it is collected.
_KEPT_OPEN = _KeptOpen()


@cache
def _threads(most: int) -> ThreadPoolExecutor:
    """This worker's threads for fetching; they only wait for the network."""
    return ThreadPoolExecutor(max_workers=most, thread_name_prefix="fetch")


@cache
def _pace(_place: str, most: int) -> Pace:
    """What this worker has learnt of the store, kept for its next chunk."""
    return Pace(most=most)
