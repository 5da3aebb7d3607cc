"""A file as CF sees it: dimensions, variables with attributes and values on demand, axes, times, and the grid.

Here: the values every reader of a container format gives, which horizontal axis a coordinate is, the cells of grids
whose longitudes and latitudes are two-dimensional, and what a time spans; which dimensions are x and y, the CRS, and
where the cells lie, by CF's attributes (and GDAL's, where a file has no coordinates), never by a variable's name. Not
here: reading a file (`netcdf_files`, `zarr_documents`), what a grid becomes in metadata (`netcdf`), and which rule
decides an item's date (`geo_assets.stac.acquisition`).

Source: CF Conventions 1.11, sections 4 (axes), 4.4 (times), 5.2 (two-dimensional latitude and longitude), 5.6 (grid
mappings) and 7.1 (cell bounds); GDAL's NetCDF driver for ``spatial_ref`` and ``GeoTransform`` of a grid mapping. A time
unit that names no zone is UTC by them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import cftime
import numpy as np
import numpy.typing as npt
import pyproj

from geo_assets.errors import MissingCrs, MissingTransform, TooLarge, UnsupportedFormat
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


EVEN = 0.01
"""Coordinates are evenly spaced where none is further than this share of a step from where it should be."""

_METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0, "km": 1000.0, "kilometre": 1000.0,
           "kilometer": 1000.0, "kilometres": 1000.0, "kilometers": 1000.0}  # fmt: skip
_RADIANS = frozenset({"rad", "radian", "radians"})

_NOWHERE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Edges:
    """An axis of a grid: the outer edges of its first and last cell, and its step where all cells are as wide."""

    first: float
    last: float
    step: float | None
    stated: bool
    """Whether the file states the edges; otherwise they are half a step beyond the coordinates."""


@dataclass(frozen=True, slots=True)
class CfGrid:
    """The one grid that all gridded variables of a file lie on.

    ``transform`` is None where cells are not evenly wide, ``outer`` then takes the whole grid to its outer edges. Both
    have the first row in the north, as GDAL turns a grid whose y goes up. ``is_geographic``: x and y are longitude and
    latitude in degrees, of a datum that only ``crs`` names.
    """

    x: str
    y: str
    shape: tuple[int, int]
    variables: tuple[Variable, ...]
    crs: pyproj.CRS | None
    transform: Transform | None
    outer: Transform
    is_geographic: bool
    edges_are_stated: bool
    cells: CurvilinearGrid | None = None


def find_grid(file: CfFile) -> CfGrid:
    """The grid of the file's data variables.

    Raises MissingTransform where no variable has coordinates of both axes, along them or of two dimensions,
    UnsupportedFormat where there are several grids, MissingCrs where the grid mapping cannot be read.
    """
    found: dict[tuple[str, str], list[Variable]] = {}
    for variable in file.variables.values():
        if variable.data_type and (axes := _axes(file, variable)):
            found.setdefault(axes, []).append(variable)
    if len(found) > 1:
        grids = ", ".join(f"{y} x {x}" for x, y in sorted(found))
        raise UnsupportedFormat(f"Its variables lie on {len(found)} different grids: {grids[:300]}.")
    if not found:
        return _curvilinear(file)
    (((x, y), variables),) = found.items()
    mapping = _grid_mapping(file, variables)
    sizes = dict(zip(variables[0].dimensions, variables[0].shape, strict=True))
    shape = (sizes[y], sizes[x])
    if min(shape) < 1:
        raise MissingTransform(f"Its grid of {y} x {x} has no cells: {shape[0]} x {shape[1]}.")
    crs = _crs(mapping) if mapping else None
    if (stated := _gdal_transform(mapping)) and axis_of(file.coordinate(x)) is None:
        return CfGrid(
            x,
            y,
            shape,
            tuple(variables),
            crs,
            transform=stated,
            outer=stated,
            is_geographic=False,
            edges_are_stated=True,
        )
    return _grid_of_coordinates(file, x, y, shape, variables, crs, mapping)


def _grid_of_coordinates(
    file: CfFile, x: str, y: str, shape: tuple[int, int], variables: list[Variable], crs: pyproj.CRS | None,
    mapping: Variable | None,
) -> CfGrid:  # fmt: skip
    columns, rows = file.variables[x], file.variables[y]
    across, down = _edges(file, columns, mapping), _edges(file, rows, mapping)
    if down.last > down.first:
        down = Edges(down.last, down.first, down.step, stated=down.stated)
    width, height = (across.last - across.first) / shape[1], (down.last - down.first) / shape[0]
    outer = (width, 0.0, across.first, 0.0, height, down.first)
    in_degrees = columns.text("units").lower() in EAST and rows.text("units").lower() in NORTH
    is_rotated = columns.text("standard_name") == "grid_longitude"
    is_even = across.step is not None and down.step is not None
    return CfGrid(
        x, y, shape, tuple(variables), crs,
        transform=outer if is_even else None,
        outer=outer,
        is_geographic=in_degrees and not is_rotated and (crs is None or crs.is_geographic),
        edges_are_stated=across.stated and down.stated,
    )  # fmt: skip


def _curvilinear(file: CfFile) -> CfGrid:
    """The grid of two-dimensional longitudes and latitudes, whose cells need no CRS to have a place."""
    cells = find_cells(file)
    if cells is None:
        raise MissingTransform(_no_grid_message(file))
    mapping = _grid_mapping(file, cells.variables)
    return CfGrid(
        cells.x, cells.y, cells.grid.shape, cells.variables, _crs(mapping) if mapping else None,
        transform=None,
        outer=_NOWHERE,
        is_geographic=True,
        edges_are_stated=False,
        cells=cells.grid,
    )  # fmt: skip


def _axes(file: CfFile, variable: Variable) -> tuple[str, str] | None:
    """The dimensions of a variable that are x and y; the last two where a grid mapping has GDAL's geotransform."""
    axes = {axis_of(file.coordinate(name)): name for name in variable.dimensions}
    if "x" in axes and "y" in axes:
        return axes["x"], axes["y"]
    mapping = file.variables.get(variable.text("grid_mapping"))
    if len(variable.dimensions) >= 2 and _gdal_transform(mapping):
        return variable.dimensions[-1], variable.dimensions[-2]
    return None


def _no_grid_message(file: CfFile) -> str:
    flat = [each.name for each in file.variables.values() if axis_of(each) and len(each.dimensions) == 2]
    if flat:
        return f"Its coordinates ({', '.join(sorted(flat))[:200]}) are two-dimensional, but no variable names both."
    return "No variable has both an x and a y coordinate by CF's attributes (standard_name, units or axis)."


def _grid_mapping(file: CfFile, variables: Sequence[Variable]) -> Variable | None:
    """The grid mapping that the variables name, as ``name`` or ``name: x y``; where it is missing, none is assumed."""
    names = {variable.text("grid_mapping").split(":")[0].strip() for variable in variables} - {""}
    if len(names) > 1:
        raise UnsupportedFormat(f"Its variables have {len(names)} grid mappings: {', '.join(sorted(names))[:200]}.")
    return file.variables.get(names.pop()) if names else None


def _crs(mapping: Variable) -> pyproj.CRS:
    attributes: dict[str, Any] = {
        name: value if isinstance(value, str) else np.asarray(value).ravel().tolist()
        for name, value in mapping.attributes.items()
    }
    plain = {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in attributes.items()
    }
    try:
        return pyproj.CRS.from_cf(plain)
    except (pyproj.exceptions.CRSError, KeyError, ValueError, TypeError, AttributeError) as error:
        name = mapping.text("grid_mapping_name") or "no grid_mapping_name"
        raise MissingCrs(f"PROJ cannot read its grid mapping {mapping.name[:60]!r} ({name[:60]}).") from error


def _gdal_transform(mapping: Variable | None) -> Transform | None:
    """The geotransform that GDAL writes into a grid mapping, in its own order."""
    words = mapping.text("GeoTransform").split() if mapping is not None else []
    try:
        c, a, b, f, d, e = (float(word) for word in words)
    except ValueError:
        return None
    return (a, b, c, d, e, f) if all(np.isfinite([a, b, c, d, e, f])) else None


def _edges(file: CfFile, coordinate: Variable, mapping: Variable | None) -> Edges:
    factor = _factor(coordinate, mapping)
    values = coordinate.values() * factor
    if values.size != coordinate.shape[0] or not values.size:
        raise MissingTransform(f"The coordinate {coordinate.name[:60]!r} has missing values.")
    steps = np.diff(values)
    if steps.size and not (np.all(steps > 0) or np.all(steps < 0)):
        raise MissingTransform(f"The coordinate {coordinate.name[:60]!r} goes back and forth.")
    step = float(values[-1] - values[0]) / steps.size if steps.size else None
    if step is not None and np.max(np.abs(values - (values[0] + step * np.arange(values.size)))) > EVEN * abs(step):
        step = None
    bounds = file.variables.get(coordinate.text("bounds"))
    if bounds is not None and bounds.shape == (values.size, 2) and bounds.data_type:
        pairs = bounds.values() * factor
        if pairs.size == 2 * values.size:
            return _stated_edges(pairs.reshape(-1, 2), values, step)
    if not steps.size:
        raise MissingTransform(f"The coordinate {coordinate.name[:60]!r} has one value and no bounds: no cell size.")
    return Edges(float(values[0] - steps[0] / 2), float(values[-1] + steps[-1] / 2), step, stated=False)


def _stated_edges(pairs: Any, values: Any, step: float | None) -> Edges:
    """The outer edges by cell bounds, in the direction of the coordinate."""
    upwards = values[-1] > values[0] if values.size > 1 else pairs[0][1] > pairs[0][0]
    low, high = float(np.min(pairs)), float(np.max(pairs))
    first, last = (low, high) if upwards else (high, low)
    width = (last - first) / values.size
    is_even = (step is None and values.size == 1) or (step is not None and abs(width - step) <= EVEN * abs(step))
    return Edges(first, last, width if is_even else None, stated=True)


def _factor(coordinate: Variable, mapping: Variable | None) -> float:
    """From the coordinate's unit to degrees or metres; a geostationary scan angle by the satellite's height."""
    units = coordinate.text("units").lower()
    if units in _RADIANS and mapping is not None and (height := mapping.number("perspective_point_height")):
        return height
    if units in _METRES:
        return _METRES[units]
    if units in ("", "1", "degrees", "degree") or units in EAST | NORTH:
        return 1.0
    raise MissingTransform(
        f"The coordinate {coordinate.name[:60]!r} is in {units[:40]!r}, a unit that is not known here."
    )
