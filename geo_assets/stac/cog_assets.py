"""The assets that an item has of a COG: the file itself, and its thumbnail.

Here: what the assets say. Not here: making the COG, and telling whether there is one (`geo_assets.resources`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from geo_assets.raster.formats.media_types import COG as COG_MEDIA_TYPE
from geo_assets.rfc3339 import rfc3339

COG, THUMBNAIL = "cog", "thumbnail"
_OF_THE_FILE = ("updated", "file:size", "file:checksum", "file:byte_order", "file:header_size", "href", "type")
"""What is said of the raster's own file and not of what is in it."""


def cog_assets(data: Mapping[str, Any], cog: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Assets by key, of the COG ``cog`` (as `Remarks.cog`) of the raster whose asset is ``data``.

    A COG that is the raster itself has the same address. Of one with pixels of its own, its grid is said.
    """
    if cog["is_linked"]:
        return {COG: {**data, "title": "Cloud Optimized GeoTIFF: the file itself"}}
    facts = cog["facts"]
    bands = data.get("bands", [])
    asset = {
        **{name: value for name, value in data.items() if name not in (*_OF_THE_FILE, "bands", "storage:refs")},
        "href": cog["href"],
        "title": "Cloud Optimized GeoTIFF",
        "type": COG_MEDIA_TYPE,
        "roles": ["data"],
        "updated": rfc3339(datetime.fromisoformat(cog["made_at"]).astimezone(UTC)),
        "file:size": cog["size_bytes"],
    }
    if bands:
        asset["bands"] = [bands[number - 1] for number in facts["bands"]]
    if facts["grid"] is not None:
        asset |= facts["grid"]
        asset.pop("raster:spatial_resolution", None)
    assets = {COG: asset}
    if cog["thumbnail_href"]:
        assets[THUMBNAIL] = {
            "href": cog["thumbnail_href"],
            "title": "Thumbnail",
            "type": "image/png",
            "roles": ["thumbnail"],
        }
    return assets


def is_same_grid(cog: Mapping[str, Any]) -> bool:
    """Whether bands and grid of the COG are the raster's own, so that renders of the one hold for the other."""
    facts = cog["facts"]
    return bool(cog["is_linked"]) or (facts["grid"] is None and facts["all_bands"])
