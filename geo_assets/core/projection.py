"""The fields of STAC's projection extension v2.0.0 for one raster.

Here: the raster's own CRS and grid. Not here: the footprint in WGS 84 (`footprint`).
"""

from functools import lru_cache
from typing import Any

import pyproj

from geo_assets.models import RasterMetadata

PROJECTION_EXTENSION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


def build_projection_fields(metadata: RasterMetadata) -> dict[str, Any]:
    """proj:code, shape, transform and bbox; where the CRS has no code, null and its WKT2 and PROJJSON."""
    fields: dict[str, Any] = {"proj:code": metadata.crs_code, "proj:shape": list(metadata.shape)}
    if metadata.crs_code is None and metadata.crs_wkt2 is not None:
        fields |= {"proj:wkt2": metadata.crs_wkt2, "proj:projjson": dict(_projjson(metadata.crs_wkt2))}
    if metadata.transform is not None:
        fields |= {"proj:transform": list(metadata.transform), "proj:bbox": _bounds(metadata)}
    return fields


@lru_cache(maxsize=128)
def _projjson(wkt2: str) -> dict[str, Any]:
    return pyproj.CRS.from_wkt(wkt2).to_json_dict()


def _bounds(metadata: RasterMetadata) -> list[float]:
    """(min x, min y, max x, max y) of the four corners, in CRS units: for a rotated raster the box round it."""
    rows, columns = metadata.shape
    a, b, c, d, e, f = metadata.transform or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    corners = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    x = [a * column + b * row + c for column, row in corners]
    y = [d * column + e * row + f for column, row in corners]
    return [min(x), min(y), max(x), max(y)]
