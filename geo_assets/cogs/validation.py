"""Whether a COG is one, and shows what its raster shows: asked of the written file before it is published.

Here: comparing two rasters window by window, in bounded memory. Not here: making the COG.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from geo_assets.errors import CogInvalid
from geo_assets.sources.cog_rules import CogRule

_WINDOW_VALUES = 4_000_000
_WINDOW_COLUMNS = 2048


@dataclass(frozen=True, slots=True)
class CogChecks:
    """What was checked and came out: each a short sentence. ``largest_error`` is in units of the pixels.

    It is 0 where every pixel is equal, None where pixels were resampled, so that there is nothing to compare.
    """

    layout: str
    pixels: str
    largest_error: float | None


def validate_cog(path: Path, original: Any, *, rule: CogRule) -> CogChecks:
    """Check the COG at ``path`` against ``original``, the open raster it was made of as the rule sees it.

    Raises CogInvalid with what is wrong.
    """
    is_valid, errors, warnings = cog_validate(str(path), strict=rule.overviews, quiet=True)
    if not is_valid:
        raise CogInvalid(f"The COG is none: {'; '.join([*errors, *warnings])}.")
    with rasterio.open(path, driver="GTiff") as cog:
        if cog.count < original.count and not (rule.profile == "jpeg" and cog.count == original.count - 1):
            raise CogInvalid(f"The COG has {cog.count} bands, its raster {original.count}.")
        if rule.is_resampled:
            _check_resampled(cog, rule)
            return CogChecks(_layout(cog), f"resampled to {cog.crs.to_string()}, so none is compared", None)
        _check_place(cog, original)
        largest = _largest_error(cog, original, is_lossless=rule.is_lossless)
        if rule.profile == "lerc" and largest > rule.max_error * (1 + 1e-6):
            raise CogInvalid(f"A pixel is off by {largest:g}, more than max_error {rule.max_error:g}.")
        words = "every pixel and mask is equal" if largest == 0 else f"lossy: the largest error is {largest:g}"
        return CogChecks(_layout(cog), words, largest)


def _layout(cog: Any) -> str:
    levels = ", ".join(str(factor) for factor in cog.overviews(1)) or "none"
    return f"valid by rio-cogeo, strictly; overviews: {levels}"


def _check_resampled(cog: Any, rule: CogRule) -> None:
    wanted = rasterio.crs.CRS.from_user_input(rule.target_crs or "EPSG:3857")
    if cog.crs != wanted:
        raise CogInvalid(f"The COG is in {cog.crs}, not in {wanted}.")


def _check_place(cog: Any, original: Any) -> None:
    if cog.shape != original.shape:
        raise CogInvalid(f"The COG has {cog.shape} pixels, its raster {original.shape}.")
    if cog.crs != original.crs:
        raise CogInvalid(f"The COG is in {cog.crs}, its raster in {original.crs}.")
    if not cog.transform.almost_equals(original.transform, precision=1e-9 * (1 + abs(original.transform.c))):
        raise CogInvalid(f"The COG's transform is {tuple(cog.transform)}, its raster's {tuple(original.transform)}.")
    for number in cog.indexes:
        ours, theirs = cog.nodatavals[number - 1], original.nodatavals[number - 1]
        same = ours == theirs or (ours is not None and theirs is not None and math.isnan(ours) and math.isnan(theirs))
        if not same:
            raise CogInvalid(f"Band {number} has nodata {ours}, its raster's {theirs}.")


def _largest_error(cog: Any, original: Any, *, is_lossless: bool) -> float:
    """The largest difference of a valid pixel; raises where a lossless COG has any, or masks differ by more than loss.

    Pixels are compared as they are, NaN with NaN, masked ones too where nothing may be lost.
    """
    largest = 0.0
    for window in windows(cog.width, cog.height, cog.count):
        for number in cog.indexes:
            ours, theirs = cog.read(number, window=window), original.read(number, window=window)
            if is_lossless:
                if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fc"):
                    raise CogInvalid(f"Pixels of band {number} differ from the raster's in {_words(window)}.")
            else:
                largest = max(largest, _difference(ours, theirs, original.read_masks(number, window=window)))
        if is_lossless and not np.array_equal(cog.dataset_mask(window=window), original.dataset_mask(window=window)):
            raise CogInvalid(f"The mask differs from the raster's in {_words(window)}.")
    return largest


def windows(width: int, height: int, count: int) -> Iterator[Window]:
    """Windows that cover a raster, each of a few million values."""
    columns = min(width, _WINDOW_COLUMNS)
    rows = max(1, min(height, _WINDOW_VALUES // (columns * max(count, 1))))
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield Window(left, top, min(columns, width - left), min(rows, height - top))


def _difference(ours: NDArray[Any], theirs: NDArray[Any], mask: NDArray[Any]) -> float:
    valid = (mask > 0) & ~(_nan(ours) | _nan(theirs))
    if not valid.any():
        return 0.0
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    return float(np.abs(ours[valid].astype(wide) - theirs[valid].astype(wide)).max())


def _nan(values: NDArray[Any]) -> Any:
    return np.isnan(values) if values.dtype.kind in "fc" else np.zeros(values.shape, bool)


def _words(window: Window) -> str:
    return f"rows {window.row_off} to {window.row_off + window.height - 1}"
