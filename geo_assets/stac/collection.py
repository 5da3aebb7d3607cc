"""The STAC collection of one source.

Here: what the source's owner states, and the extent and summaries its items have. Not here: computing these.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from geo_assets.display import rfc3339
from geo_assets.sources.source import Source
from geo_assets.stac.item import STAC_VERSION

Bbox = tuple[float, float, float, float]
Interval = tuple[datetime | None, datetime | None]

RENDER_EXTENSION = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
WHOLE_WORLD: Bbox = (-180.0, -90.0, 180.0, 90.0)


def build_collection(
    source: Source,
    extent_bbox: Bbox | None,
    extent_interval: Interval | None,
    *,
    summaries: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A STAC 1.1.0 collection, ready for PgSTAC.

    ``extent_bbox`` and ``extent_interval`` are facts about its items, None while it has none. STAC demands an
    extent, so an empty collection gets the whole world and an open interval: by convention, "not known yet".
    ``summaries`` are facts about its items as well.
    """
    rule = source.collection.model_dump(
        mode="json", exclude_none=True, include={"title", "keywords", "providers", "item_assets", "renders"}
    )
    links = [link.model_dump(mode="json", exclude_none=True) for link in source.collection.links]
    interval = [moment and rfc3339(moment) for moment in extent_interval or (None, None)]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [RENDER_EXTENSION] if source.collection.renders else [],
        "id": source.collection.id,
        "description": source.collection.description,
        "license": source.collection.license,
        "extent": {
            "spatial": {"bbox": [list(extent_bbox or WHOLE_WORLD)]},
            "temporal": {"interval": [interval]},
        },
        **{key: value for key, value in rule.items() if value},
        **({"summaries": dict(summaries)} if summaries else {}),
        "links": links,
    }
