"""Where a Zarr store lies, in spellings beside CF's: brought into the form of a CF grid mapping.

Here: ``proj:code``, ``proj:wkt2``, ``proj:projjson`` and ``spatial:transform`` of the GeoZarr conventions, ``_CRS`` of
GDAL, ``crs_wkt`` and ``spatial_ref`` among attributes, and rioxarray's array ``spatial_ref``. Not here: CF (`cf_grid`).

Source: the Zarr conventions proj and spatial, version 1; GDAL's Zarr driver.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pyproj

from geo_assets.errors import MissingCrs
from geo_assets.raster.formats.cf_variables import Variable
from geo_assets.raster.tags import clean_text

_RIOXARRAY = "spatial_ref"


def with_grid_mappings(
    variables: Mapping[str, Variable],
    *,
    array_attributes: Mapping[str, Mapping[str, Any]],
    group_attributes: Mapping[str, Any],
) -> dict[str, Variable]:
    """``variables``, those without a grid mapping given the one their attributes, or the group's, amount to.

    Raises MissingCrs where one of them states a CRS that PROJ does not know.
    """
    found = dict(variables)
    made: dict[tuple[tuple[str, str], ...], str] = {}
    for name, variable in variables.items():
        if variable.text("grid_mapping") or len(variable.dimensions) < 2 or not variable.data_type:
            continue
        mapping = _mapping(group_attributes, variable) | _mapping(array_attributes[name], variable)
        if mapping:
            made.setdefault(tuple(mapping.items()), f"(attributes {len(made) + 1})")
            key = made[tuple(mapping.items())]
            found[key] = Variable(key, (), (), "", mapping, lambda: np.empty(0))
        elif _RIOXARRAY in variables and variables[_RIOXARRAY].text("crs_wkt"):
            key = _RIOXARRAY
        else:
            continue
        found[name] = replace(variable, attributes={**variable.attributes, "grid_mapping": key})
    return found


def _mapping(stated: Mapping[str, Any], variable: Variable) -> dict[str, str]:
    crs, transform = _crs(stated), _transform(stated, variable)
    return ({"crs_wkt": crs} if crs else {}) | ({"GeoTransform": transform} if transform else {})


def _crs(stated: Mapping[str, Any]) -> str:
    """The WKT of the CRS, "" where none is stated."""
    gdal = stated.get("_CRS")
    spellings = {
        **stated,
        **{f"_CRS {name}": value for name, value in (gdal if isinstance(gdal, dict) else {}).items()},
    }
    for name in ("proj:wkt2", "proj:projjson", "proj:code", "_CRS wkt", "_CRS projjson", "crs_wkt", "spatial_ref"):
        value = spellings.get(name)
        if not value:
            continue
        try:
            if isinstance(value, dict):
                return pyproj.CRS.from_json_dict(value).to_wkt("WKT2_2019")
            if name == "proj:code":
                return pyproj.CRS.from_authority(*str(value).split(":", 1)).to_wkt("WKT2_2019")
            return pyproj.CRS.from_wkt(str(value)).to_wkt("WKT2_2019")
        except (pyproj.exceptions.CRSError, TypeError, ValueError) as error:
            text = clean_text(str(value))[:60]
            raise MissingCrs(
                f"PROJ cannot read the CRS in the attribute {name.removeprefix('_CRS ')}: {text}."
            ) from error
    return ""


def _transform(stated: Mapping[str, Any], variable: Variable) -> str:
    """``spatial:transform`` in GDAL's order, where it is of corners of pixels and of the last two dimensions."""
    numbers, axes = stated.get("spatial:transform"), stated.get("spatial:dimensions")
    if stated.get("spatial:registration", "pixel") != "pixel" or not isinstance(numbers, list) or len(numbers) != 6:
        return ""
    if isinstance(axes, list) and axes != list(variable.dimensions[-2:]):
        return ""
    try:
        a, b, c, d, e, f = map(float, numbers)
    except (TypeError, ValueError, OverflowError):
        return ""
    return " ".join(map(repr, (c, a, b, f, d, e))) if all(map(isfinite, (a, b, c, d, e, f))) else ""
