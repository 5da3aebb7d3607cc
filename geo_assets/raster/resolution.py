"""How large a raster's pixels are on the ground.

Here: whether the pixel size that a file states in metres holds on the ground. Not here: the ground sample distance
of the instrument (`gsd`), which no grid tells: only the source's rule may state it.
"""

from functools import lru_cache
from math import hypot, isclose

import numpy as np
import pyproj

from geo_assets.errors import NoFootprint
from geo_assets.models import RasterMetadata
from geo_assets.raster.horizontal_crs import horizontal_crs

TOLERANCE = 0.01
"""So far the ground may differ from the stated pixel size, as a share of it: UTM stays within 0.1 %."""

_GEOD = pyproj.Geod(ellps="WGS84")

# The centre and the corners, three times: the pixel itself, the next of its row, and the next of its column.
_COLUMNS = np.array([[0.5, 0.0, 1.0, 0.0, 1.0]] * 3)
_ROWS = np.array([[0.5, 0.0, 0.0, 1.0, 1.0]] * 3)
_STARTS = [0, 0]


def spatial_resolution_metres(metadata: RasterMetadata) -> float | None:
    """The side of a pixel in metres, where the CRS is in metres and pixels are square; None where that is not so.

    What the file states counts only where a pixel at the centre and at each corner measures as much on the ground,
    within `TOLERANCE`: a metre of Web Mercator at 60 degrees north is half a metre.
    """
    if metadata.transform is None or metadata.crs_wkt2 is None or not _is_in_metres(metadata.crs_wkt2):
        return None
    a, b, c, d, e, f = metadata.transform
    across, down = hypot(a, d), hypot(b, e)
    if not isclose(across, down, rel_tol=1e-6) or abs(a * b + d * e) > 1e-6 * across * down:
        return None
    rows, columns = metadata.shape
    column, row = _COLUMNS * (columns - 1), _ROWS * (rows - 1)
    column[1], row[2] = column[1] + 1, row[2] + 1
    try:
        crs = horizontal_crs(metadata.crs_wkt2)
    except NoFootprint:
        return None
    longitude, latitude = crs.to_wgs84(a * column + b * row + c, d * column + e * row + f)
    # Of what has no place on the globe the distance is NaN, and so not within anything.
    start = longitude[_STARTS], latitude[_STARTS]
    _, _, ground = _GEOD.inv(*start, longitude[1:], latitude[1:])
    return across if (np.abs(ground - across) <= TOLERANCE * across).all() else None


@lru_cache(maxsize=512)
def _is_in_metres(wkt2: str) -> bool:
    """Whether the CRS is projected with both axes in metres."""
    crs = pyproj.CRS.from_wkt(wkt2)
    axes = crs.axis_info[:2]
    return crs.is_projected and all(axis.unit_conversion_factor == 1 and axis.unit_name == "metre" for axis in axes)
