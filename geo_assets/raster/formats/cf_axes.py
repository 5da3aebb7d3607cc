"""Which horizontal axis a CF coordinate is, and coordinates of two dimensions.

Here: what CF's attributes say of one variable, and the cells of grids whose longitudes and latitudes are
two-dimensional. Not here: grids along two axes (`cf_grid`).

Source: CF Conventions 1.11, sections 4 (axes) and 5.2 (two-dimensional latitude and longitude).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from geo_assets.errors import MissingTransform, TooLarge, UnsupportedFormat
from geo_assets.raster.curvilinear_grid import CurvilinearGrid
from geo_assets.raster.formats.cf_variables import Array, CfFile, Variable

_X_NAMES = frozenset({"longitude", "grid_longitude", "projection_x_coordinate", "projection_x_angular_coordinate"})
_Y_NAMES = frozenset({"latitude", "grid_latitude", "projection_y_coordinate", "projection_y_angular_coordinate"})
EAST = frozenset({"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"})
NORTH = frozenset({"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"})


def axis_of(variable: Variable | None) -> Literal["x", "y"] | None:
    """What horizontal axis a coordinate variable is, by CF's attributes."""
    if variable is None:
        return None
    units, standard, axis = variable.text("units").lower(), variable.text("standard_name"), variable.text("axis")
    if standard in _X_NAMES or units in EAST or (axis == "X" and not standard):
        return "x"
    if standard in _Y_NAMES or units in NORTH or (axis == "Y" and not standard):
        return "y"
    return None


@dataclass(frozen=True, slots=True)
class Cells:
    """The variables of a file that lie on one grid with two-dimensional coordinates, over the dimensions y and x."""

    x: str
    y: str
    variables: tuple[Variable, ...]
    grid: CurvilinearGrid


def find_cells(file: CfFile) -> Cells | None:
    """The grid of the variables that name two-dimensional longitudes and latitudes, None where none does.

    Raises UnsupportedFormat where there are several, MissingTransform where the coordinates are not all there.
    """
    found: dict[tuple[str, str], list[Variable]] = {}
    for variable in file.variables.values():
        if variable.data_type and (pair := _pair(file, variable)):
            found.setdefault(pair, []).append(variable)
    if len(found) > 1:
        grids = ", ".join(f"{latitude} and {longitude}" for longitude, latitude in sorted(found))
        raise UnsupportedFormat(f"Its variables lie on {len(found)} different grids: {grids[:300]}.")
    for (longitude, latitude), variables in found.items():
        rows, columns = file.variables[longitude].dimensions
        grid = CurvilinearGrid(_degrees(file.variables[longitude]), _degrees(file.variables[latitude]))
        return Cells(columns, rows, tuple(variables), grid)
    return None


def _pair(file: CfFile, variable: Variable) -> tuple[str, str] | None:
    """The names of a variable's two-dimensional longitude and latitude, which lie along two of its dimensions."""
    named = [file.variables[name] for name in variable.text("coordinates").split() if name in file.variables]
    flat = [each for each in named if len(each.dimensions) == 2 and set(each.dimensions) <= set(variable.dimensions)]
    longitudes = [each for each in flat if each.text("units").lower() in EAST]
    latitudes = [each for each in flat if each.text("units").lower() in NORTH]
    if len(longitudes) == len(latitudes) == 1 and longitudes[0].dimensions == latitudes[0].dimensions:
        return longitudes[0].name, latitudes[0].name
    return None


def _degrees(coordinate: Variable) -> Array:
    label = coordinate.name[:60]
    try:
        values = coordinate.values()
    except TooLarge as error:
        raise MissingTransform(f"Its two-dimensional coordinate {label!r} is too large to be read.") from error
    if values.size != int(np.prod(coordinate.shape)) or min(coordinate.shape) < 2:
        raise MissingTransform(f"The two-dimensional coordinate {label!r} has missing values, or too few for cells.")
    return values.reshape(coordinate.shape)
