"""Where a raster's valid pixels lie: their outline in pixels, within a budget of bytes.

Here: choosing the level, reading its mask, and making polygons of it. Not here: putting them on the globe
(`valid_footprint`).
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.raster.header import open_raster
from geo_assets.raster.statistics import choose_level
from geo_assets.raster.tiff import TiffStructure

MOST_SIDE = 1024
"""The mask is halved until no side has more pixels than this."""

MOST_EDGES = 30_000
"""... and until there are no more edges between valid and other pixels than this, which bounds time."""

MOST_CORNERS = 1000
"""... and until its outline, simplified, has no more corners than this, which bounds the item."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ValidArea:
    """The outline of the valid pixels in (column, row) of the full raster, None where it is the raster's edges.

    ``note`` says which pixels were looked at and what was found, or why none were.
    """

    polygons: BaseGeometry | None
    note: str


def read_valid_area(
    file: BinaryIO, structure: TiffStructure, *, budget_bytes: int, tolerance_pixels: float
) -> ValidArea:
    """The outline of the raster's valid pixels, from the level that statistics would be of (see `choose_level`).

    A pixel is valid as in statistics: not nodata, masked, transparent, NaN or infinite, in at least one band.
    The mask is made coarser, a block being valid where a pixel of it is, until its outline is bounded; that is
    then simplified within ``tolerance_pixels`` of the pixels it ended with.
    """
    level = choose_level(structure, budget_bytes=budget_bytes)
    if isinstance(level, str):
        return ValidArea(None, f"valid pixels were not looked for ({level})")
    try:
        with open_raster(file, overview=level.overview) as dataset:
            mask = valid_mask(dataset)
    except (Corrupt, TooLarge) as error:  # too large: blocks that no estimate foresaw
        return ValidArea(None, f"valid pixels were not looked for (the pixels cannot be read: {error.message})")
    what = "the raster" if level.overview is None else f"the overview at 1/{level.factor}"
    if mask.all():
        return ValidArea(None, f"every pixel of {what} is valid")
    if not mask.any():
        return ValidArea(None, f"no pixel of {what} is valid")
    polygons, coarseness = outline_mask(mask, tolerance_pixels=tolerance_pixels)
    main = structure.main
    scale = (main.width / mask.shape[1], main.height / mask.shape[0])
    note = f"the valid pixels of {what}, within {tolerance_pixels:g} pixels of 1/{level.factor * coarseness}"
    return ValidArea(shapely.transform(polygons, lambda xy: xy * scale), note)


def valid_mask(dataset: Any) -> Mask:
    """Which pixels of an open dataset are valid in at least one band, shape (rows, columns)."""
    mask: Mask = dataset.dataset_mask() != 0
    if all(np.issubdtype(dtype, np.inexact) for dtype in dataset.dtypes if dtype != "complex_int16"):
        valid = np.zeros_like(mask)
        for number in dataset.indexes:
            valid |= np.isfinite(dataset.read(number)) & (dataset.read_masks(number) != 0)
        mask &= valid
    return mask


def outline_mask(mask: Mask, *, tolerance_pixels: float) -> tuple[BaseGeometry, int]:
    """The outline of the true pixels in (column, row) of ``mask``, and how many of its pixels went into one."""
    rows, columns = mask.shape
    coarse, coarseness = mask, 1
    while True:
        if max(coarse.shape) <= MOST_SIDE and _count_edges(coarse) <= MOST_EDGES:
            outline = _polygons(coarse, tolerance_pixels)
            if shapely.get_num_coordinates(outline) <= MOST_CORNERS or coarse.size == 1:
                # The last block of a row or a column may reach beyond the mask.
                back = shapely.transform(outline, lambda xy, by=coarseness: np.minimum(xy * by, (columns, rows)))
                return back, coarseness
        coarse, coarseness = _halved(coarse), 2 * coarseness


def _halved(mask: Mask) -> Mask:
    rows, columns = mask.shape
    even = np.pad(mask, ((0, rows % 2), (0, columns % 2)))
    return even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]


def _count_edges(mask: Mask) -> int:
    return int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))


def _polygons(mask: Mask, tolerance: float) -> BaseGeometry:
    found = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    exact = shapely.union_all([shapely.geometry.shape(each) for each, _ in found])
    # Simplified apart, neighbours may overlap.
    return shapely.make_valid(exact.simplify(tolerance)).buffer(0)
