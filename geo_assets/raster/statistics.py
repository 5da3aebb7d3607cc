"""Statistics of a raster's pixels within a budget of bytes, from the finest level that fits it.

Here: choosing the level, reading it, and the figures. Not here: opening files (`raster`), or anything
that is not read: where no level fits, the reason is recorded and there are no statistics.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from geo_assets.models import BandStatistics
from geo_assets.raster.tiff import Directory, TiffStructure

MOST_PIXELS = 16_000_000
"""Pixels of one band that are held in memory at once."""

MOST_BLOCK_BYTES = 64 * 1024 * 1024
"""A block must be decoded whole: a small file may hold one that is far larger than the file."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a raster: ``overview`` counts from the finest, None is full resolution."""

    overview: int | None
    factor: int
    estimated_bytes: int


def choose_level(structure: TiffStructure, *, budget_bytes: int) -> Level | str:
    """The finest level whose data fit the budget, memory and block limits; or why none does."""
    images = [structure.main, *sorted(structure.overviews, key=lambda image: -image.width)]
    refusals = []
    for index, image in enumerate(images):
        factor = round(structure.main.width / image.width)
        refusal = _refusal(image, budget_bytes=budget_bytes)
        if refusal is None:
            return Level(index - 1 if index else None, factor, _data_bytes(image))
        refusals.append(f"1/{factor}: {refusal}")
    return "no level can be read: " + "; ".join(refusals)


def read_statistics(dataset: Any) -> tuple[BandStatistics, ...]:
    """The statistics of every band of an open dataset, one band in memory at a time.

    Pixels that are nodata, masked, transparent, NaN or infinite are not valid and do not count.
    """
    return tuple(_statistics(dataset.read(number, masked=True)) for number in dataset.indexes)


def _statistics(pixels: "np.ma.MaskedArray[Any, Any]") -> BandStatistics:
    values: npt.NDArray[Any] = pixels.compressed()
    if np.issubdtype(values.dtype, np.inexact):
        values = values[np.isfinite(values)]
    valid_percent = 100.0 * values.size / pixels.size
    if not values.size:
        return BandStatistics(valid_percent=0.0)
    return BandStatistics(
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(values.mean(dtype=np.float64)),
        stddev=float(values.std(dtype=np.float64)),
        valid_percent=valid_percent,
    )


def _refusal(image: Directory, *, budget_bytes: int) -> str | None:
    if image.block_bytes > MOST_BLOCK_BYTES:
        return f"a block needs {image.block_bytes:,} bytes of memory, {MOST_BLOCK_BYTES:,} are allowed"
    if image.width * image.height > MOST_PIXELS:
        return f"{image.width * image.height:,} pixels a band, {MOST_PIXELS:,} are allowed"
    if (size := _data_bytes(image)) > budget_bytes:
        return f"about {size:,} bytes to read, the budget is {budget_bytes:,}"
    return None


def _data_bytes(image: Directory) -> int:
    """About how many bytes the level's blocks take in the file, from those of its blocks that were looked at."""
    if not image.blocks:
        return 0
    planes = image.samples if image.separate_planes else 1
    count = ceil(image.width / image.block_width) * ceil(image.height / image.block_height) * planes
    return ceil(sum(size for _, size in image.blocks) / len(image.blocks) * count)
