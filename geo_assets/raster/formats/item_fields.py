"""What an item says of its file's format beyond what every raster has.

Here: the datacube, which placement was not in the file itself, and which blobs the pixels lie in. Not here: the item
(`stac.item`).
"""

from typing import Any

from geo_assets.models import RasterMetadata


def format_properties(metadata: RasterMetadata) -> dict[str, Any]:
    """cube:dimensions and cube:variables, where CRS and geotransform came from if not from the file, and members."""
    origins = {
        "geo_assets:crs_source": metadata.crs_source,
        "geo_assets:transform_source": metadata.transform_source,
        "geo_assets:members": list(metadata.members) or None,
    }
    return {**(metadata.cube or {}), **{name: origin for name, origin in origins.items() if origin is not None}}
