"""The STAC extensions whose fields our items carry, each at one version, and the older ones of an item as STAC 1.0.0.

Here: the addresses of their schemas (an extension is named here before any of its fields is written), which of them an
item uses; storage v2 (what a blob's address says of account and region), projection v2.0.0 (the raster's own CRS and
grid), and render (one rendering, of what is a picture already or by statistics that were read). For readers that do not
know 1.1 yet, an item with what is in the common ``bands`` moved to ``eo:bands`` and ``raster:bands`` of the 1.x
extensions, and ``proj:code`` to ``proj:epsg``; nothing is added that the item does not state. Not here: checking fields
(`schemas`), building items (`item`).
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pyproj

from geo_assets.models import BandMetadata, RasterMetadata

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
    """The extensions of which at least one field is in the item, its assets or their bands."""
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


SCHEME = "azure"
_PLATFORM = "https://{account}.blob.core.windows.net"
_ADDRESS = re.compile(r"https://(?P<account>[a-z0-9-]+)\.blob\.core\.windows\.net/(?P<container>[^/?#]+)/")


def build_storage_schemes(href: str, *, region: str | None) -> dict[str, dict[str, Any]]:
    """``storage:schemes`` with the one scheme `SCHEME` for a blob in Azure's public cloud, {} for any other.

    ``container`` is a field of our own, which the extension allows.
    """
    match = _ADDRESS.match(href)
    if match is None:
        return {}
    scheme = {"type": "ms-azure", "platform": _PLATFORM, **match.groupdict()}
    return {SCHEME: {**scheme, **({"region": region} if region else {})}}


Corners = list[list[float]]


def build_projection_fields(metadata: RasterMetadata) -> dict[str, Any]:
    """proj:code, shape, transform and bbox; where the CRS has no code, null and its WKT2 and PROJJSON.

    A rotated or sheared raster is smaller than its proj:bbox, so it gets its proj:geometry as well.
    """
    fields: dict[str, Any] = {"proj:code": metadata.crs_code, "proj:shape": list(metadata.shape)}
    if metadata.crs_code is None and metadata.crs_wkt2 is not None:
        fields |= {"proj:wkt2": metadata.crs_wkt2, "proj:projjson": dict(_projjson(metadata.crs_wkt2))}
    if metadata.transform is not None:
        corners = _corners(metadata.shape, metadata.transform)
        fields |= {"proj:transform": list(metadata.transform), "proj:bbox": _bounds(corners)}
        if metadata.transform[1] or metadata.transform[3]:
            fields["proj:geometry"] = {"type": "Polygon", "coordinates": [_ring(corners)]}
    return fields


@lru_cache(maxsize=128)
def _projjson(wkt2: str) -> dict[str, Any]:
    return pyproj.CRS.from_wkt(wkt2).to_json_dict()


def _corners(shape: tuple[int, int], transform: tuple[float, ...]) -> Corners:
    """[x, y] of the four corners in CRS units, round the raster from its first pixel along the first row."""
    rows, columns = shape
    a, b, c, d, e, f = transform
    pixels = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    return [[a * column + b * row + c, d * column + e * row + f] for column, row in pixels]


def _bounds(corners: Corners) -> list[float]:
    """(min x, min y, max x, max y) in CRS units: for a rotated raster the box round it."""
    x, y = zip(*corners, strict=True)
    return [min(x), min(y), max(x), max(y)]


def _ring(corners: Corners) -> Corners:
    """The corners as a closed ring, counter-clockwise."""
    (x0, y0), (x1, y1), (x2, y2), _ = corners
    turns_left = (x1 - x0) * (y2 - y1) - (y1 - y0) * (x2 - x1) > 0
    ring = corners if turns_left else corners[::-1]
    return [*ring, ring[0]]


DEFAULT_RENDER = "default"
_COLOURS = ("red", "green", "blue")


def build_renders(metadata: RasterMetadata, *, asset: str) -> dict[str, dict[str, Any]]:
    """``renders`` with one entry, or {} where the values of the bands it would show are not known.

    Red, green and blue by the file's own word are shown as such, 8-bit ones as they are; otherwise the first band in
    shades of grey. What is no picture yet is stretched from the least to the greatest value that was read
    (``geo_assets:statistics_source`` says where), colours all alike, so that their balance stays.
    A band of palette colours needs no stretching and gets no rendering.
    """
    colours = [band.color_interpretation for band in metadata.bands]
    is_coloured = all(colours.count(colour) == 1 for colour in _COLOURS)
    numbers = [colours.index(colour) + 1 for colour in _COLOURS] if is_coloured else [1]
    shown = [metadata.bands[number - 1] for number in numbers]
    render: dict[str, Any] = {"assets": [asset], "bidx": numbers}
    if not (is_coloured and all(band.data_type == "uint8" for band in shown)):
        if (stretch := _stretch(shown)) is None:
            return {}
        render["rescale"] = [stretch for _ in shown]
    nodata = shown[0].nodata
    if nodata is not None and all(band.nodata == nodata for band in shown):
        render["nodata"] = nodata
    return {DEFAULT_RENDER: render}


def _stretch(bands: list[BandMetadata]) -> list[float] | None:
    """[least, greatest] value of all the bands, None where not all are known or there is nothing between them."""
    if any(band.color_interpretation == "palette" for band in bands):
        return None
    known = [band.statistics for band in bands if band.statistics is not None]
    least = [each.minimum for each in known if each.minimum is not None]
    greatest = [each.maximum for each in known if each.maximum is not None]
    if not len(bands) == len(least) == len(greatest) or min(least) >= max(greatest):
        return None
    return [min(least), max(greatest)]


STAC_VERSION_1_0 = "1.0.0"
EO_1 = f"{_HOME}/eo/v1.1.0/schema.json"
PROJECTION_1 = f"{_HOME}/projection/v1.1.0/schema.json"
RASTER_1 = f"{_HOME}/raster/v1.1.0/schema.json"

_RASTER_FIELDS = ("data_type", "nodata", "unit", "statistics")
_SHARED_RASTER_FIELDS = ("raster:sampling", "raster:spatial_resolution")
_EO_FIELDS = ("name", "description")
_OLDER_COMMON_NAMES = {
    "green05": "green",
    "rededge071": "rededge",
    "rededge075": "rededge",
    "rededge078": "rededge",
}
"""What eo 1.1.0 calls the bands that eo 2.0.0 tells apart."""


def to_stac_1_0(item: dict[str, Any]) -> dict[str, Any]:
    """The same item as STAC 1.0.0 with projection, raster and eo 1.1.0; ``item`` is left as it is.

    A CRS with a code that is not EPSG's gets ``proj:epsg`` null and its WKT2. A band's ``gsd`` has no place in 1.0.0
    and goes to the asset where all its bands share it; otherwise it is left out.
    """
    assets = {key: _asset(asset) for key, asset in item["assets"].items()}
    replaced = {EO_EXTENSION, PROJECTION_EXTENSION, RASTER_EXTENSION}
    extensions = [url for url in item["stac_extensions"] if url not in replaced]
    if PROJECTION_EXTENSION in item["stac_extensions"]:
        extensions.append(PROJECTION_1)
    for field, extension in (("raster:bands", RASTER_1), ("eo:bands", EO_1)):
        if any(field in asset for asset in assets.values()):
            extensions.append(extension)
    return {
        **item,
        "stac_version": STAC_VERSION_1_0,
        "stac_extensions": extensions,
        "properties": _with_epsg(item["properties"]),
        "assets": assets,
    }


def _asset(asset: dict[str, Any]) -> dict[str, Any]:
    moved = {"bands", *_SHARED_RASTER_FIELDS}
    shared = {field.removeprefix("raster:"): asset[field] for field in _SHARED_RASTER_FIELDS if field in asset}
    bands = asset.get("bands", [])
    raster = [_raster_band(band) | shared for band in bands]
    eo = [_eo_band(band) for band in bands]
    sizes = {band.get("gsd") for band in bands}
    return {
        **({"gsd": sizes.pop()} if len(sizes) == 1 and None not in sizes else {}),
        **{key: value for key, value in _with_epsg(asset).items() if key not in moved},
        **({"raster:bands": raster} if raster and all(raster) else {}),
        **({"eo:bands": eo} if eo and all(eo) else {}),
    }


def _raster_band(band: dict[str, Any]) -> dict[str, Any]:
    common = {field: band[field] for field in _RASTER_FIELDS if field in band}
    own = {key.removeprefix("raster:"): value for key, value in band.items() if key.startswith("raster:")}
    return common | own


def _eo_band(band: dict[str, Any]) -> dict[str, Any]:
    common = {field: band[field] for field in _EO_FIELDS if field in band}
    own = {key.removeprefix("eo:"): value for key, value in band.items() if key.startswith("eo:")}
    if name := own.get("common_name"):
        own["common_name"] = _OLDER_COMMON_NAMES.get(name, name)
    return common | own


def _with_epsg(fields: dict[str, Any]) -> dict[str, Any]:
    """``fields`` with proj:epsg in place of proj:code, where there is one (or null)."""
    if "proj:code" not in fields:
        return fields
    rest = {key: value for key, value in fields.items() if key != "proj:code"}
    authority, _, code = (fields["proj:code"] or "").partition(":")
    if authority == "EPSG" and code.isdecimal():
        return {"proj:epsg": int(code), **rest}
    if authority and "proj:wkt2" not in rest:
        rest["proj:wkt2"] = pyproj.CRS.from_authority(authority, code).to_wkt("WKT2_2019")
    return {"proj:epsg": None, **rest}
