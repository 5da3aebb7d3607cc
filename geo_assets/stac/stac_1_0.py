"""An item of ours as STAC 1.0.0, for readers that do not know 1.1 yet.

Here: moving what is in the common ``bands`` to ``eo:bands`` and ``raster:bands`` of the 1.x extensions, and
``proj:code`` to ``proj:epsg``. Nothing is added that the item does not state. Not here: building items (`item`).
"""

from typing import Any

import pyproj

from geo_assets.stac.extensions import EO_EXTENSION, PROJECTION_EXTENSION, RASTER_EXTENSION

STAC_VERSION_1_0 = "1.0.0"
_HOME = "https://stac-extensions.github.io"
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
