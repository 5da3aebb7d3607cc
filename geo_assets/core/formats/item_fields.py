"""What an item says of its file's format beyond what every raster has.

Here: the datacube, and which placement was not in the file itself. Not here: the item (`core.item`).
"""

from typing import Any

from geo_assets.models import RasterMetadata


def format_properties(metadata: RasterMetadata) -> dict[str, Any]:
    """cube:dimensions and cube:variables, and where CRS and geotransform came from if not from the file."""
    origins = {
        "geo_assets:crs_source": metadata.crs_source,
        "geo_assets:transform_source": metadata.transform_source,
    }
    return {**(metadata.cube or {}), **{name: origin for name, origin in origins.items() if origin is not None}}
