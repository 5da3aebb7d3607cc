"""The fields of STAC's projection extension v2.0.0 for one raster.

Here: the raster's own CRS and grid. Not here: the footprint in WGS 84 (`footprint`).
"""

from functools import lru_cache
from typing import Any

import pyproj

from geo_assets.models import RasterMetadata

Corners = list[list[float]]


def build_projection_fields(metadata: RasterMetadata) -> dict[str, Any]:
    """proj:code, shape, transform and bbox; where the CRS has no code, null and its WKT2 and PROJJSON.

    A rotated or sheared raster is smaller than its proj:bbox, so it gets its proj:geometry as well.
    """
    fields: dict[str, Any] = {"proj:code": metadata.crs_code, "proj:shape": list(metadata.shape)}
    if metadata.crs_code is None and metadata.crs_wkt2 is not None:
        fields |= {"proj:wkt2": metadata.crs_wkt2, "proj:projjson": dict(_projjson(metadata.crs_wkt2))}
    if metadata.transform is not None:
        corners = _corners(metadata.shape, metadata.transform)
        fields |= {"proj:transform": list(metadata.transform), "proj:bbox": _bounds(corners)}
        if metadata.transform[1] or metadata.transform[3]:
            fields["proj:geometry"] = {"type": "Polygon", "coordinates": [_ring(corners)]}
    return fields


@lru_cache(maxsize=128)
def _projjson(wkt2: str) -> dict[str, Any]:
    return pyproj.CRS.from_wkt(wkt2).to_json_dict()


def _corners(shape: tuple[int, int], transform: tuple[float, ...]) -> Corners:
    """[x, y] of the four corners in CRS units, round the raster from its first pixel along the first row."""
    rows, columns = shape
    a, b, c, d, e, f = transform
    pixels = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    return [[a * column + b * row + c, d * column + e * row + f] for column, row in pixels]


def _bounds(corners: Corners) -> list[float]:
    """(min x, min y, max x, max y) in CRS units: for a rotated raster the box round it."""
    x, y = zip(*corners, strict=True)
    return [min(x), min(y), max(x), max(y)]


def _ring(corners: Corners) -> Corners:
    """The corners as a closed ring, counter-clockwise."""
    (x0, y0), (x1, y1), (x2, y2), _ = corners
    turns_left = (x1 - x0) * (y2 - y1) - (y1 - y0) * (x2 - x1) > 0
    ring = corners if turns_left else corners[::-1]
    return [*ring, ring[0]]
