"""The STAC item of one raster.

Here: putting facts into a STAC 1.1.0 item. Not here: finding them (`raster`, `footprint`, `acquisition`), and
anything nobody stated: no gsd, created, updated or platform is made up.
"""

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Any

from geo_assets.core.acquisition import datetime_fields, item_datetime
from geo_assets.core.footprint import known_footprint
from geo_assets.core.formats.item_fields import format_extensions, format_properties
from geo_assets.core.formats.media_types import COG as COG  # re-exported
from geo_assets.core.formats.media_types import GEOTIFF as GEOTIFF
from geo_assets.core.formats.media_types import media_type
from geo_assets.core.item_id import item_id
from geo_assets.core.projection import PROJECTION_EXTENSION, build_projection_fields
from geo_assets.models import BandMetadata, BandStatistics, BlobRef, RasterMetadata
from geo_assets.sources import Source

STAC_VERSION = "1.1.0"
FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
RASTER_EXTENSION = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"

_MULTIHASH_MD5 = "d50110"
"""Multihash: the code of MD5 (0xd5 as a varint) and its length of 16 bytes."""


def build_item(*, source: Source, blob: BlobRef, metadata: RasterMetadata, href: str) -> dict[str, Any]:
    """The item of ``blob``, ready for PgSTAC; its asset ``data`` is the blob at ``href``.

    Raises MissingCrs, MissingTransform or NoFootprint (see `footprint_wgs84`), and MissingDatetime.
    """
    footprint = known_footprint(metadata)
    acquired = item_datetime(source.datetime, blob=blob, metadata=metadata)
    asset = _build_asset(blob, metadata, href)
    properties = {
        **datetime_fields(acquired),
        **build_projection_fields(metadata),
        **format_properties(metadata),
        "geo_assets:source": source.name,
        "geo_assets:blob": blob.name,
        "geo_assets:etag": blob.etag,
        "geo_assets:datetime_source": acquired.origin,
        "geo_assets:geometry_source": footprint.source,
        **({"geo_assets:statistics_source": metadata.statistics_source} if metadata.statistics_source else {}),
    }
    uses_raster = any(key.startswith("raster:") for band in asset["bands"] for key in band)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [
            PROJECTION_EXTENSION,
            FILE_EXTENSION,
            *([RASTER_EXTENSION] if uses_raster else []),
            *format_extensions(metadata),
        ],
        "id": item_id(source.item_id, blob_name=blob.name, prefix=source.prefix),
        "collection": source.collection.id,
        "geometry": footprint.geometry,
        "bbox": list(footprint.bbox),
        "properties": properties,
        "links": [_collection_link(source.collection.id)],
        "assets": {"data": asset},
    }


def _collection_link(collection_id: str) -> dict[str, str]:
    """STAC demands this link of an item with a collection; relative to where every STAC API serves its items."""
    return {"rel": "collection", "href": f"../../{collection_id}", "type": "application/json"}


def rfc3339(instant: datetime) -> str:
    """A UTC instant as STAC writes it, with Z."""
    return instant.isoformat().replace("+00:00", "Z")


def _build_asset(blob: BlobRef, metadata: RasterMetadata, href: str) -> dict[str, Any]:
    checksum = {"file:checksum": f"{_MULTIHASH_MD5}{blob.md5.lower()}"} if blob.md5 else {}
    names = Counter(band.name for band in metadata.bands)
    return {
        "href": href,
        "type": media_type(metadata),
        "roles": ["data"],
        "file:size": blob.size_bytes,
        **checksum,
        "bands": [_build_band(band, name_is_unique=names[band.name] == 1) for band in metadata.bands],
    }


def _build_band(band: BandMetadata, *, name_is_unique: bool) -> dict[str, Any]:
    """A STAC band; what the file says of it is its name only where it tells the bands apart."""
    stated = {
        "name" if name_is_unique else "description": band.name,
        "data_type": band.data_type,
        "nodata": band.nodata,
        "unit": band.unit,
        "raster:scale": band.scale,
        "raster:offset": band.offset,
    }
    statistics = {"statistics": _build_statistics(band.statistics)} if band.statistics else {}
    return {key: value for key, value in stated.items() if value is not None} | statistics


def _build_statistics(statistics: BandStatistics) -> dict[str, float]:
    """STAC's Statistics object, with what is known of it."""
    return {key: value for key, value in asdict(statistics).items() if value is not None}
