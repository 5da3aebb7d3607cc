"""Building many items in worker processes: a header that makes PROJ or GEOS crash costs its blob only.

Here: what a worker does to a chunk. Not here: the processes (`worker_pool`), how an item is built
(`geo_assets.core.item`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

from geo_assets.core.item import build_item
from geo_assets.errors import PermanentError
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.resources.worker_pool import WorkerPool, shared_pool
from geo_assets.settings import Settings
from geo_assets.sources import Source

SMALLEST_CHUNK, LARGEST_CHUNK = 16, 250


@dataclass(frozen=True, slots=True)
class Described:
    """A blob with what its header says and the address its readers use."""

    blob: BlobRef
    metadata: RasterMetadata
    href: str


@dataclass(frozen=True, slots=True)
class Building:
    """What came of building one item: the item, or the error."""

    blob: BlobRef
    result: dict[str, Any] | PermanentError


def build_items(
    source: Source, described: Sequence[Described], *, settings: Settings, pool: WorkerPool | None = None
) -> Iterator[Building]:
    """Build the item of each described blob in worker processes."""
    pool = pool or shared_pool(settings)
    chunk_size = max(SMALLEST_CHUNK, min(LARGEST_CHUNK, ceil(len(described) / (2 * settings.workers))))
    return pool.map(partial(build_chunk, source), described, chunk_size=chunk_size, lost=_lost)


def build_chunk(source: Source, described: Sequence[Described], start: Callable[[int], None]) -> list[Building]:
    """In a worker: the items of ``described``."""
    return [_build(source, each, index, start) for index, each in enumerate(described)]


def _build(source: Source, each: Described, index: int, start: Callable[[int], None]) -> Building:
    start(index)
    try:
        item = build_item(source=source, blob=each.blob, metadata=each.metadata, href=each.href)
    except PermanentError as error:
        return Building(each.blob, error)
    return Building(each.blob, item)


def _lost(each: Described, error: PermanentError) -> Building:
    return Building(each.blob, error)
