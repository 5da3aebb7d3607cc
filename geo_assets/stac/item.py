"""The STAC item of one raster, and the collection of one source.

Here: putting facts into a STAC 1.1.0 item; what the source's owner states of the collection, with the extent and the
summaries its items have. Not here: finding facts (`geo_assets.raster`, `acquisition`), computing extents, the fields of
extensions (`extensions`), what the ledger knows beyond the present version (`remarks`), and anything that is stated
nowhere: no gsd, created or platform is made up.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from geo_assets.display import rfc3339
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.names import item_id
from geo_assets.raster.bands import build_bands, spatial_resolution_metres
from geo_assets.raster.footprint import known_footprint
from geo_assets.raster.formats.netcdf import format_properties
from geo_assets.raster.sniff import media_type
from geo_assets.sources.source import Source
from geo_assets.stac.acquisition import datetime_fields, item_datetime
from geo_assets.stac.extensions import (
    SCHEME,
    build_projection_fields,
    build_renders,
    build_storage_schemes,
    extensions_used,
)
from geo_assets.storage.related_blobs import asset_name, is_store_root

STAC_VERSION = "1.1.0"
DATA = "data"

_MULTIHASH_MD5 = "d50110"
"""Multihash: the code of MD5 (0xd5 as a varint) and its length of 16 bytes."""


def build_item(*, source: Source, blob: BlobRef, metadata: RasterMetadata, href: str) -> dict[str, Any]:
    """The item of ``blob``, ready for PgSTAC; its asset ``data`` is the blob, or the Zarr store, at ``href``.

    Raises MissingCrs, MissingTransform or NoFootprint (see `footprint_wgs84`), MissingDatetime, and InvalidItem
    (see `build_bands`).
    """
    footprint = known_footprint(metadata)
    acquired = item_datetime(source.datetime, blob=blob, metadata=metadata)
    schemes = build_storage_schemes(href, region=source.region)
    assets = {DATA: _build_asset(source, blob, metadata, href) | ({"storage:refs": [SCHEME]} if schemes else {})}
    properties = {
        **datetime_fields(acquired),
        "gsd": source.gsd,
        **build_projection_fields(metadata),
        **format_properties(metadata),
        "storage:schemes": schemes or None,
        "renders": build_renders(metadata, asset=DATA) or None,
        "geo_assets:source": source.name,
        "geo_assets:blob": blob.name,
        "geo_assets:etag": blob.etag,
        "geo_assets:correlation_id": blob.correlation_id,
        "geo_assets:datetime_source": acquired.origin,
        "geo_assets:geometry_source": footprint.source,
        "geo_assets:statistics_source": metadata.statistics_source,
    }
    properties = {key: value for key, value in properties.items() if value is not None or key == "proj:code"}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": extensions_used(properties=properties, assets=assets),
        "id": item_id(source.item_id, blob_name=asset_name(blob.name), prefix=source.prefix),
        "collection": source.collection.id,
        "geometry": footprint.geometry,
        "bbox": list(footprint.bbox),
        "properties": properties,
        "links": [_collection_link(source.collection.id)],
        "assets": assets,
    }


def _collection_link(collection_id: str) -> dict[str, str]:
    """STAC demands this link of an item with a collection; relative to where every STAC API serves its items."""
    return {"rel": "collection", "href": f"../../{collection_id}", "type": "application/json"}


def _build_asset(source: Source, blob: BlobRef, metadata: RasterMetadata, href: str) -> dict[str, Any]:
    """The asset of the blob itself; ``updated`` of an asset is when its bytes were last written.

    Of a store neither that nor size and checksum are known: the blob is but its root's metadata.
    """
    of_file = {
        "updated": rfc3339(blob.last_modified.astimezone(UTC)),
        "file:size": blob.size_bytes,
        "file:checksum": f"{_MULTIHASH_MD5}{blob.md5.lower()}" if blob.md5 else None,
    }
    stated = {
        "href": href,
        "type": media_type(metadata),
        "roles": ["data"],
        **({} if is_store_root(blob.name) else of_file),
        "file:byte_order": metadata.byte_order,
        "file:header_size": metadata.header_size_bytes,
        "raster:sampling": metadata.area_or_point.lower() if _states_sampling(metadata) else None,
        "raster:spatial_resolution": spatial_resolution_metres(metadata),
        "bands": build_bands(metadata, source.bands),
    }
    return {key: value for key, value in stated.items() if value is not None}


def _states_sampling(metadata: RasterMetadata) -> bool:
    return "AREA_OR_POINT" in metadata.tags.get("", {})


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
