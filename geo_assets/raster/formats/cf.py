"""A NetCDF file as CF sees it: dimensions, variables with attributes and values on demand, axes, and times as instants.

Here: the values every reader of a container format gives, which horizontal axis a coordinate is, the cells of grids
whose longitudes and latitudes are two-dimensional, and what a time spans. Not here: reading a file (`netcdf_classic`,
`hdf5`), grids along two axes (`cf_grid`), and which rule decides an item's date (`stac.acquisition`).

Source: CF Conventions 1.11, sections 4 (axes), 4.4 (times) and 5.2 (two-dimensional latitude and longitude). A time
unit that names no zone is UTC by them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import cftime
import numpy as np
import numpy.typing as npt

from geo_assets.errors import MissingTransform, TooLarge, UnsupportedFormat
from geo_assets.raster.grids import CurvilinearGrid

Array = npt.NDArray[np.float64]

MAX_VARIABLES = 2000
MAX_VALUES = 1_000_000
"""A coordinate longer than this is not read: no honest axis is."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; ``dimensions`` are names, ``data_type`` is numpy's name of it ("" where it is no number).

    ``read`` gives its values as float64, unpacked by nothing; of a long record variable the first and the last only,
    which suffice where coordinates are monotonic. It raises TooLarge past `MAX_VALUES`.
    """

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    data_type: str
    attributes: Mapping[str, Any]
    read: Callable[[], Array]

    def text(self, attribute: str) -> str:
        """A text attribute, "" where there is none."""
        value = self.attributes.get(attribute)
        return value.strip() if isinstance(value, str) else ""

    def number(self, attribute: str) -> float | None:
        """A numeric attribute as a finite number, None where there is none."""
        try:
            value = float(np.asarray(self.attributes.get(attribute), dtype=np.float64).ravel()[0])
        except (TypeError, ValueError, IndexError):
            return None
        return value if np.isfinite(value) else None

    def values(self) -> Array:
        """Its values by scale_factor and add_offset, without missing ones."""
        raw = self.read().ravel()
        for attribute in ("_FillValue", "missing_value"):
            if (fill := self.number(attribute)) is not None:
                raw = raw[raw != fill]
        scale, offset = self.number("scale_factor"), self.number("add_offset")
        unpacked: Array = raw * (1.0 if scale is None else scale) + (0.0 if offset is None else offset)
        return unpacked[np.isfinite(unpacked)]


@dataclass(frozen=True, slots=True)
class CfFile:
    """The variables of a file's root group by name, and its global attributes."""

    variables: Mapping[str, Variable]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def coordinate(self, dimension: str) -> Variable | None:
        """The coordinate variable of a dimension: one of its name, along it alone."""
        variable = self.variables.get(dimension)
        return variable if variable is not None and variable.dimensions == (dimension,) and variable.data_type else None


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


_SINCE = re.compile(r"^\s*[A-Za-z]+\s+since\s+\S", re.IGNORECASE)
_REAL_CALENDARS = frozenset({"", "standard", "gregorian", "proleptic_gregorian"})
"""The others, such as noleap and 360_day, count days of model years, which are no instants."""


def is_time(variable: Variable) -> bool:
    """Whether it counts time since an instant, by its unit."""
    return bool(variable.data_type and _SINCE.match(variable.text("units")))


def time_range(file: CfFile, variable: Variable) -> tuple[datetime, datetime] | None:
    """First and last instant of a time coordinate in UTC, those of its bounds where it has some.

    None where it is of a model's calendar, has no values, or none that is an instant of years 2 to 9999.
    """
    bounds = file.variables.get(variable.text("bounds"))
    try:
        values = bounds.values() if bounds is not None and bounds.data_type else np.empty(0)
        instants = instants_of(variable, values if values.size else variable.values())
    except TooLarge:
        return None
    return (min(instants), max(instants)) if instants else None


def instants_of(variable: Variable, values: Array) -> list[datetime]:
    """The smallest and the largest of ``values`` as instants in UTC, by the unit and calendar of ``variable``."""
    calendar = variable.text("calendar").lower()
    if not values.size or calendar not in _REAL_CALENDARS:
        return []
    try:
        moments = cftime.num2pydate(
            np.array([values.min(), values.max()]), variable.text("units"), calendar=calendar or "standard"
        )
    except (ValueError, OverflowError):
        return []
    instants = [datetime.fromisoformat(moment.isoformat()).replace(tzinfo=UTC) for moment in moments]
    return instants if all(instant.year > 1 for instant in instants) else []


def attributes_as_tags(attributes: Mapping[str, object]) -> dict[str, str]:
    """Global attributes as text, as GDAL's tags are."""
    return {
        name: value if isinstance(value, str) else " ".join(str(each) for each in np.asarray(value).ravel()[:100])
        for name, value in attributes.items()
    }
