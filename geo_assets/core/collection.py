"""The STAC collection of one source.

Here: what the source's owner states, and the extent its items have. Not here: computing that extent.
"""

from datetime import datetime
from typing import Any

from geo_assets.core.item import STAC_VERSION, rfc3339
from geo_assets.sources import Source

Bbox = tuple[float, float, float, float]
Interval = tuple[datetime | None, datetime | None]

WHOLE_WORLD: Bbox = (-180.0, -90.0, 180.0, 90.0)


def build_collection(source: Source, extent_bbox: Bbox | None, extent_interval: Interval | None) -> dict[str, Any]:
    """A STAC 1.1.0 collection, ready for PgSTAC.

    ``extent_bbox`` and ``extent_interval`` are facts about its items, None while it has none. STAC demands an
    extent, so an empty collection gets the whole world and an open interval: by convention, "not known yet".
    """
    title = {"title": source.collection.title} if source.collection.title else {}
    interval = [moment and rfc3339(moment) for moment in extent_interval or (None, None)]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": source.collection.id,
        **title,
        "description": source.collection.description,
        "license": source.collection.license,
        "extent": {
            "spatial": {"bbox": [list(extent_bbox or WHOLE_WORLD)]},
            "temporal": {"interval": [interval]},
        },
        "links": [],
    }
