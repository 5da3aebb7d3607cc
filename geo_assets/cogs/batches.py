"""Which rasters share a step: small ones, for a step costs more than they do; a large one has one of its own.

Here: cutting. Not here: what a step does (`geo_assets.assets.cogs`).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

LARGE_BYTES = 64 * 1024**2
BATCH_BYTES = 256 * 1024**2
MOST_IN_A_BATCH = 32


class Sized(Protocol):
    """Anything of which the bytes are known."""

    @property
    def size_bytes(self) -> int:
        """Its bytes."""
        ...


S = TypeVar("S", bound=Sized)


def cut_batches(rasters: Sequence[S]) -> Iterator[list[S]]:
    """The rasters in their order, the large ones alone."""
    batch: list[S] = []
    for raster in rasters:
        if raster.size_bytes >= LARGE_BYTES:
            yield [raster]
            continue
        if batch and (len(batch) == MOST_IN_A_BATCH or sum(each.size_bytes for each in batch) >= BATCH_BYTES):
            yield batch
            batch = []
        batch.append(raster)
    if batch:
        yield batch
