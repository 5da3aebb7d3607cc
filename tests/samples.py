"""What tests/golden/samples.json says of each sample: the code of its refusal, "sidecar", or its item's identity."""

from typing import Any

from geo_assets.raster.sniff import COG, GEOTIFF

_KINDS = {COG: "COG", GEOTIFF: "GeoTIFF"}


def identity(item: dict[str, Any]) -> list[Any]:
    """Id, kind of file, CRS code and bbox of an item."""
    media_type = item["assets"]["data"]["type"]
    return [item["id"], _KINDS.get(media_type, media_type), item["properties"].get("proj:code"), *item["bbox"]]
