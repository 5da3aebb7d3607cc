"""A factory of tiny rasters for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin


def raster_bytes(
    *,
    value: int = 1,
    size: int = 16,
    crs: str | None = "EPSG:32633",
    tags: dict[str, str] | None = None,
    **profile: Any,
) -> bytes:
    """A GeoTIFF of ``size`` x ``size`` pixels of ``value``, 30 m each, near 15 E 45 N."""
    options: dict[str, Any] = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 1,
        "dtype": "uint16",
        "crs": crs,
        "transform": from_origin(500_000 + 30 * value, 5_000_000, 30, 30),
        **profile,
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(**options) as dataset:
            for band in range(1, options["count"] + 1):
                dataset.write(np.full((size, size), value, options["dtype"]), band)
            dataset.update_tags(**(tags or {}))
        content: bytes = memory.read()
    return content


def write_raster(path: Path, **options: Any) -> Path:
    """Write `raster_bytes` to ``path``, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raster_bytes(**options))
    return path
