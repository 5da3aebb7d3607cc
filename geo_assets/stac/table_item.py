"""The STAC item of one table, with the table extension.

Here: putting what is known of a layer's table into a STAC 1.1.0 item. Not here: making tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import shapely

from geo_assets.display import rfc3339
from geo_assets.models import BlobRef
from geo_assets.names import FID, GEOMETRY, item_id, safe_name
from geo_assets.sources.source import Source
from geo_assets.stac.acquisition import datetime_fields, item_datetime
from geo_assets.stac.extensions import SCHEME, build_storage_schemes, extensions_used
from geo_assets.stac.item import DATA, STAC_VERSION

_MEDIA_TYPES = {
    "GPKG": "application/geopackage+sqlite3",
    "GeoJSON": "application/geo+json",
    "GeoJSONSeq": "application/geo+json-seq",
    "FlatGeobuf": "application/vnd.flatgeobuf",
    "Parquet": "application/vnd.apache.parquet",
    "ESRI Shapefile": "application/vnd.shp",
    "KML": "application/vnd.google-earth.kml+xml",
    "LIBKML": "application/vnd.google-earth.kml+xml",
    "CSV": "text/csv",
}
_OF_ARCHIVES = {".zip": "application/zip", ".kmz": "application/vnd.google-earth.kmz"}


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """What an item says of a table; ``columns`` are {"name", "original", "type"}, ``bbox`` is in degrees."""

    layer: str
    table: str
    rows: int
    columns: Sequence[Mapping[str, str]]
    geometry_types: Sequence[str]
    srid: int
    bbox: Sequence[float] | None
    driver: str


@dataclass(frozen=True, slots=True)
class _NoTags:
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    time_range: tuple[datetime, datetime] | None = None


def build_table_items(
    *, source: Source, blob: BlobRef, tables: Sequence[DescribedTable], href: str
) -> list[dict[str, Any]]:
    """An item for each of the ``tables`` that ``blob`` became; one alone has the id that a raster would have.

    Raises MissingDatetime.
    """
    return [
        _build(source, blob, table, href=href, suffix=f"-{safe_name(table.layer)}" if len(tables) > 1 else "")
        for table in tables
    ]


def _build(source: Source, blob: BlobRef, table: DescribedTable, *, href: str, suffix: str) -> dict[str, Any]:
    acquired = item_datetime(source.datetime, blob=blob, metadata=_NoTags())
    schemes = build_storage_schemes(href, region=source.region)
    properties = {
        **datetime_fields(acquired),
        "proj:code": f"EPSG:{table.srid}",
        "table:columns": _columns(table),
        "table:primary_geometry": GEOMETRY,
        "table:row_count": table.rows,
        "geo_assets:source": source.name,
        "geo_assets:blob": blob.name,
        "geo_assets:etag": blob.etag,
        "geo_assets:layer": table.layer,
        "geo_assets:table": table.table,
        "geo_assets:datetime_source": acquired.origin,
        **({"storage:schemes": schemes} if schemes else {}),
    }
    asset = {
        "href": href,
        "type": _media_type(blob, table),
        "roles": ["data"],
        "updated": rfc3339(blob.last_modified.astimezone(UTC)),
        "file:size": blob.size_bytes,
        **({"storage:refs": [SCHEME]} if schemes else {}),
    }
    assets = {DATA: asset}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": extensions_used(properties=properties, assets=assets),
        "id": item_id(source.item_id, blob_name=blob.name, prefix=source.prefix) + suffix,
        "collection": source.collection.id,
        **_extent(table.bbox),
        "properties": properties,
        "links": [{"rel": "collection", "href": f"../../{source.collection.id}", "type": "application/json"}],
        "assets": assets,
    }


def _extent(bbox: Sequence[float] | None) -> dict[str, Any]:
    """Geometry and bbox; a table without a geometry lies nowhere, which PgSTAC takes as the whole world only."""
    west, south, east, north = bbox or (-180.0, -90.0, 180.0, 90.0)
    if west == east and south == north:
        return {"geometry": shapely.geometry.mapping(shapely.Point(west, south)), "bbox": [west, south, east, north]}
    if west == east or south == north:
        line = shapely.LineString([(west, south), (east, north)])
        return {"geometry": shapely.geometry.mapping(line), "bbox": [west, south, east, north]}
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, south, east, north]}


def _columns(table: DescribedTable) -> list[dict[str, str]]:
    geometry = ", ".join(table.geometry_types) or "no geometries"
    return [
        {"name": FID, "type": "bigint"},
        {"name": GEOMETRY, "type": "geometry", "description": f"{geometry} in EPSG:{table.srid}"},
        *(
            {
                "name": column["name"],
                "type": column["type"],
                **(
                    {"description": f"In the file: {column['original']}"}
                    if column["original"] != column["name"]
                    else {}
                ),
            }
            for column in table.columns
        ),
    ]


def _media_type(blob: BlobRef, table: DescribedTable) -> str:
    ending = f".{blob.name.rpartition('.')[2].lower()}"
    return _OF_ARCHIVES.get(ending) or _MEDIA_TYPES.get(table.driver, "application/octet-stream")
