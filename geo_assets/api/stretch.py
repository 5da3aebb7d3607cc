"""Pictures of values that are no shades yet: stretched over a raster's usual values, where the caller names none.

Here: what is shown where nobody says what to show. Not here: the values themselves, which statistics and points give
as they are, and renderings that an item states.
"""

from threading import Lock
from typing import Any

import attr
import numpy
from cachetools import TTLCache
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

Interval = tuple[float, float]
LOW, HIGH = 2, 98
"""Percentiles of the values that become black and white: a few outliers do not make all else grey."""
SAMPLE_SIZE = 256
"""Pixels a side of the look at the whole raster, which takes its overviews."""
_PICTURES = (None, ImageType.png, ImageType.jpeg, ImageType.jpg, ImageType.webp)
_KNOWN: TTLCache[tuple[Any, ...], list[Interval]] = TTLCache(maxsize=2048, ttl=60)
_LOCK = Lock()


@attr.s
class StretchingReader(Reader):  # type: ignore[misc]
    """A reader whose images know the usual values of their whole raster, so that its tiles are alike."""

    def part(self, *arguments: Any, **options: Any) -> ImageData:
        """The part of the raster in a box; tiles and features are parts too."""
        return self._with_usual_values(super().part(*arguments, **options), options)

    def preview(self, *arguments: Any, **options: Any) -> ImageData:
        """The whole raster in few pixels."""
        return self._with_usual_values(super().preview(*arguments, **options), options)

    def sample(self, indexes: Any) -> ImageData | None:
        """The whole raster in very few pixels; None where that would take too long."""
        return super().preview(indexes=indexes, max_size=SAMPLE_SIZE)

    def _with_usual_values(self, image: ImageData, options: dict[str, Any]) -> ImageData:
        if image.array.dtype == numpy.uint8 or image.dataset_statistics or options.get("expression"):
            return image
        bands = options.get("indexes")
        key = (self.input, str(bands), image.count)
        with _LOCK:
            known = _KNOWN.get(key)
        if known is None:
            sample = self.sample(bands)
            if sample is None:
                return image
            known = [usual_values(band) for band in sample.array]
            with _LOCK:
                _KNOWN[key] = known
        image.dataset_statistics = known
        return image


def usual_values(band: "numpy.ma.MaskedArray[Any, Any]") -> Interval:
    """The percentiles `LOW` and `HIGH` of a band's valid and finite values; 0 and 1 where it has none."""
    values = band.compressed().astype("float64")
    values = values[numpy.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in numpy.percentile(values, [LOW, HIGH]))
    return (low, high) if high > low else (low, low + 1.0)


def render_stretched(image: ImageData, **options: Any) -> tuple[bytes, str]:
    """titiler's rendering, after a stretch of values that the caller did not stretch, colour, or ask for as data."""
    is_asked_for = options.get("rescale") or options.get("colormap") or options.get("color_formula")
    is_picture = options.get("output_format") in _PICTURES
    if is_picture and not is_asked_for and image.array.dtype != numpy.uint8:
        image.rescale(image.dataset_statistics or [usual_values(band) for band in image.array])
    content, media_type = render_image(image, **options)
    return content, media_type
