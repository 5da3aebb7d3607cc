"""What an item says of its file's format beyond what every raster has.

Here: the datacube (STAC's extension v2.3.0: dimensions and variables as the file states them), which placement was not
in the file itself, and which blobs the pixels lie in. Not here: the item (`stac.item`), the grid (`cf_grid`), times
(`cf`).
"""

from typing import Any

import numpy as np

from geo_assets.display import rfc3339
from geo_assets.errors import TooLarge
from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.cf import CfFile, Variable, is_time, time_range
from geo_assets.raster.formats.cf_grid import CfGrid
from geo_assets.raster.header import clean_text

MOST_VALUES_LISTED = 100


def build_cube_fields(file: CfFile, grid: CfGrid, *, reference_system: int | str | None) -> dict[str, Any]:
    """cube:dimensions and cube:variables of the gridded variables; extents are of coordinates, at cell centres."""
    names = dict.fromkeys(name for variable in grid.variables for name in variable.dimensions)
    return {
        "cube:dimensions": {
            clean_text(name): _dimension(file, grid, name, reference_system=reference_system) for name in names
        },
        "cube:variables": {clean_text(variable.name): _variable(variable) for variable in grid.variables},
    }


def _dimension(file: CfFile, grid: CfGrid, name: str, *, reference_system: int | str | None) -> dict[str, Any]:
    if name in (grid.x, grid.y) and grid.cells is None:
        return _horizontal(file, grid, name, reference_system=reference_system)
    coordinate = file.coordinate(name)
    if coordinate is None:
        return {"type": "other", "extent": [None, None], "description": "A dimension without coordinates."}
    if is_time(coordinate):
        spanned = time_range(file, coordinate)
        texts = [rfc3339(instant) for instant in spanned] if spanned else [None, None]
        return {"type": "temporal", "extent": texts}
    is_vertical = coordinate.text("axis") == "Z" or coordinate.text("positive").lower() in ("up", "down")
    unit = {"unit": clean_text(coordinate.text("units"))} if coordinate.text("units") else {}
    kind = {"type": "spatial", "axis": "z"} if is_vertical else {"type": "other"}
    return kind | _extent(coordinate) | unit


def _horizontal(file: CfFile, grid: CfGrid, name: str, *, reference_system: int | str | None) -> dict[str, Any]:
    """An axis of the grid in its CRS's unit, which may be another than that of the file's coordinate."""
    a, _, c, _, e, f = grid.outer
    first, width, count = (c, a, grid.shape[1]) if name == grid.x else (f, e, grid.shape[0])
    centres = sorted((first + width / 2, first + width * (count - 0.5)))
    coordinate = file.coordinate(name)
    if grid.transform is None and coordinate is not None:
        centres = _extent(coordinate)["extent"]
    step = {"step": abs(width)} if grid.transform is not None else {}
    system = {"reference_system": reference_system} if reference_system is not None else {}
    return {"type": "spatial", "axis": "x" if name == grid.x else "y", "extent": centres, **step, **system}


def _extent(coordinate: Variable) -> dict[str, Any]:
    try:
        values = coordinate.values()
    except TooLarge:
        values = np.empty(0)
    if not values.size:
        return {"extent": [None, None]}
    listed = {"values": values.tolist()} if values.size == coordinate.shape[0] <= MOST_VALUES_LISTED else {}
    return {"extent": [float(values.min()), float(values.max())], **listed}


def _variable(variable: Variable) -> dict[str, Any]:
    long_name, unit = clean_text(variable.text("long_name")), clean_text(variable.text("units"))
    return {
        "type": "data",
        "dimensions": [clean_text(name) for name in variable.dimensions],
        **({"description": long_name} if long_name else {}),
        **({"unit": unit} if unit else {}),
    }


def format_properties(metadata: RasterMetadata) -> dict[str, Any]:
    """cube:dimensions and cube:variables, where CRS and geotransform came from if not from the file, and members."""
    origins = {
        "geo_assets:crs_source": metadata.crs_source,
        "geo_assets:transform_source": metadata.transform_source,
        "geo_assets:members": list(metadata.members) or None,
    }
    return {**(metadata.cube or {}), **{name: origin for name, origin in origins.items() if origin is not None}}
