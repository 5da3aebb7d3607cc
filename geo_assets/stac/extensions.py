"""The STAC extensions whose fields our items carry, each at one version, and which of them an item uses.

Here: the addresses of their schemas; an extension is named here before any of its fields is written.
Not here: the fields themselves, and checking them (`item_schemas`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

_HOME = "https://stac-extensions.github.io"
DATACUBE_EXTENSION = f"{_HOME}/datacube/v2.3.0/schema.json"
EO_EXTENSION = f"{_HOME}/eo/v2.0.0/schema.json"
FILE_EXTENSION = f"{_HOME}/file/v2.1.0/schema.json"
PROJECTION_EXTENSION = f"{_HOME}/projection/v2.0.0/schema.json"
RASTER_EXTENSION = f"{_HOME}/raster/v2.0.0/schema.json"
RENDER_EXTENSION = f"{_HOME}/render/v2.0.0/schema.json"
STORAGE_EXTENSION = f"{_HOME}/storage/v2.0.0/schema.json"
TABLE_EXTENSION = f"{_HOME}/table/v1.2.0/schema.json"
VERSION_EXTENSION = f"{_HOME}/version/v1.2.0/schema.json"
VIEW_EXTENSION = f"{_HOME}/view/v1.0.0/schema.json"

_BY_FIELD = {
    "proj": PROJECTION_EXTENSION,
    "file": FILE_EXTENSION,
    "raster": RASTER_EXTENSION,
    "eo": EO_EXTENSION,
    "storage": STORAGE_EXTENSION,
    "cube": DATACUBE_EXTENSION,
    "renders": RENDER_EXTENSION,
    "view": VIEW_EXTENSION,
    "table": TABLE_EXTENSION,
    "version": VERSION_EXTENSION,
    "deprecated": VERSION_EXTENSION,
    "experimental": VERSION_EXTENSION,
}
"""What the names of an extension's fields start with (up to the colon, where they have one)."""

EXTENSIONS = tuple(dict.fromkeys(_BY_FIELD.values()))
"""Every extension an item may list."""


def extensions_used(*, properties: dict[str, Any], assets: dict[str, dict[str, Any]]) -> list[str]:
    """The extensions of which at least one field stands in the item, its assets or their bands."""
    used = {name.partition(":")[0] for name in _field_names(properties, assets)}
    return list(dict.fromkeys(extension for field, extension in _BY_FIELD.items() if field in used))


def with_extensions_used(item: Mapping[str, Any]) -> dict[str, Any]:
    """``item``, whose fields changed, listing the extensions it uses now; those we do not know stay."""
    foreign = [url for url in item["stac_extensions"] if url not in EXTENSIONS]
    used = extensions_used(properties=item["properties"], assets=item["assets"])
    return {**item, "stac_extensions": [*used, *foreign]}


def _field_names(properties: dict[str, Any], assets: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield from properties
    for asset in assets.values():
        yield from asset
        for band in asset.get("bands", ()):
            yield from band
