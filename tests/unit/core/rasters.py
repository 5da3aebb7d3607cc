"""Tiny rasters made for tests, and metadata without any file."""

from typing import Any

import numpy as np
import pyproj
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from geo_assets.models import BandMetadata, RasterMetadata

NORTH_UP = Affine(0.1, 0.0, 0.0, 0.0, -0.1, 1.0)


def tiff_bytes(*, tags: dict[str, str] | None = None, edit: Any = None, **profile: Any) -> bytes:
    """The bytes of a GeoTIFF of zeros; ``edit`` gets the open dataset."""
    options: dict[str, Any] = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "height": 4,
        "width": 6,
        "crs": "EPSG:4326",
        "transform": NORTH_UP,
    }
    options |= profile
    with MemoryFile() as memory:
        with memory.open(**options) as dataset:
            dataset.update_tags(**(tags or {}))
            dataset.write(np.zeros((options["count"], options["height"], options["width"]), options["dtype"]))
            if edit:
                edit(dataset)
        return bytes(memory.read())


def metadata(
    crs: str | None = "EPSG:4326",
    transform: Affine | None = NORTH_UP,
    shape: tuple[int, int] = (10, 10),
    **fields: Any,
) -> RasterMetadata:
    """Metadata as a header in this CRS would give."""
    known = pyproj.CRS.from_user_input(crs) if crs else None
    authority = known.to_authority(min_confidence=100) if known else None
    return RasterMetadata(
        driver="GTiff",
        shape=shape,
        bands=fields.pop("bands", (BandMetadata(data_type="uint8"),)),
        crs_code=":".join(authority) if authority else None,
        crs_wkt2=known.to_wkt("WKT2_2019") if known else None,
        transform=tuple(transform)[:6] if transform else None,
        block_shape=shape,
        **fields,
    )
