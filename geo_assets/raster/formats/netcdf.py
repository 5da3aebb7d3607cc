"""NetCDF, classic and HDF5-based: what a file's header and coordinates say, as raster metadata and as item fields.

Here: from CF variables to bands, CRS, transform, footprint, cube and time; of an item, the datacube (STAC's extension
v2.3.0: dimensions and variables as the file states them) and what else only a format has: which placement was not in
the file itself, and which blobs the pixels lie in. Not here: the files (`netcdf_files`), CF itself (`cf`), the item
(`geo_assets.stac.item`). No value of a data variable is ever read.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, BinaryIO

import numpy as np

from geo_assets.display import rfc3339
from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint, TooLarge
from geo_assets.models import BandMetadata, Nodata, RasterMetadata, Refusal
from geo_assets.raster.footprint import footprint_of_grid, footprint_wgs84
from geo_assets.raster.formats.cf import CfFile, CfGrid, Variable, attributes_as_tags, find_grid, is_time, time_range
from geo_assets.raster.formats.netcdf_files import open_hdf5, read_netcdf_classic
from geo_assets.raster.header import MAX_TAGS_PER_DOMAIN, clean_text, crs_code
from geo_assets.raster.io import GuardedFile
from geo_assets.raster.sniff import Format

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


_CRS84 = (
    'GEOGCRS["WGS 84 (CRS84)",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257223563]],'
    'CS[ellipsoidal,2],AXIS["longitude",east],AXIS["latitude",north],UNIT["degree",0.0174532925199433]]'
)


def read_netcdf_metadata(file: BinaryIO, kind: Format, *, bytes_read: Callable[[], int] | None) -> RasterMetadata:
    """The facts of a NetCDF file: each gridded variable is a band, whatever its other dimensions.

    Raises Corrupt, TooLarge or UnsupportedFormat, MissingTransform where it has no even grid, MissingCrs where its
    grid mapping cannot be read, and whatever ``file`` itself raises.
    """
    guard = GuardedFile(file)
    count = bytes_read or (lambda: guard.bytes_read)
    try:
        if kind is Format.NETCDF_CLASSIC:
            metadata = describe_cf(read_netcdf_classic(guard), driver="netCDF")
        else:
            with open_hdf5(guard) as variables:
                metadata = describe_cf(variables, driver="netCDF")
    finally:
        guard.raise_error()
    return replace(metadata, bytes_read=count())


def describe_cf(file: CfFile, *, driver: str) -> RasterMetadata:
    """What the variables of a file say; ``driver`` is GDAL's name of the container."""
    grid = find_grid(file)
    wkt2 = grid.crs.to_wkt("WKT2_2019") if grid.crs is not None else None
    code = crs_code(wkt2) if wkt2 else None
    is_epsg = code is not None and code.startswith("EPSG:")
    metadata = RasterMetadata(
        driver=driver,
        shape=grid.shape,
        bands=tuple(_band(variable) for variable in grid.variables),
        crs_code=code,
        crs_wkt2=wkt2,
        transform=grid.transform,
        block_shape=grid.shape,
        tags=_tags(file),
        cube=build_cube_fields(
            file, grid, reference_system=int(code.removeprefix("EPSG:")) if code and is_epsg else wkt2
        ),
        time_range=_time_range(file, grid),
    )
    return _with_degrees(metadata, grid) if grid.is_geographic else metadata


def _with_degrees(metadata: RasterMetadata, grid: CfGrid) -> RasterMetadata:
    """The footprint of a grid in longitude and latitude, which needs no even cells and, within its datum, no CRS."""
    if metadata.crs_wkt2 is not None and metadata.transform is not None:
        return metadata
    try:
        if grid.cells is not None:
            return replace(metadata, footprint=footprint_of_grid(grid.cells))
        footprint = footprint_wgs84(
            replace(metadata, transform=grid.outer, crs_wkt2=metadata.crs_wkt2 or _CRS84, footprint=None)
        )
    except (MissingCrs, MissingTransform, NoFootprint) as error:
        return replace(metadata, footprint=Refusal(error.code, error.message))
    edges = "cell bounds" if grid.edges_are_stated else "cells half a step beyond the coordinates"
    datum = "" if metadata.crs_wkt2 else ", whose datum the file does not name"
    return replace(metadata, footprint=replace(footprint, source=f"longitude and latitude coordinates{datum}; {edges}"))


def _band(variable: Variable) -> BandMetadata:
    scale, offset = variable.number("scale_factor"), variable.number("add_offset")
    return BandMetadata(
        data_type=variable.data_type,
        nodata=_nodata(variable),
        name=clean_text(variable.name),
        unit=clean_text(variable.text("units")) or None,
        scale=None if scale == 1 else scale,
        offset=None if offset == 0 else offset,
    )


def _nodata(variable: Variable) -> Nodata | None:
    for attribute in ("_FillValue", "missing_value"):
        values = variable.attributes.get(attribute)
        if values is None or isinstance(values, str):
            continue
        value = values.ravel()[0].item() if values.size else None
        if isinstance(value, int):
            unsigned = variable.data_type.startswith("uint") and value < 0
            return value + 2 ** int(variable.data_type.removeprefix("uint")) if unsigned else value
        if value != value:
            return "nan"
        return variable.number(attribute)
    return None


def _tags(file: CfFile) -> dict[str, dict[str, str]]:
    """Global attributes, in a domain named as GDAL names them."""
    pairs = list(attributes_as_tags(file.attributes).items())[:MAX_TAGS_PER_DOMAIN]
    return {"NC_GLOBAL": {clean_text(name): clean_text(value) for name, value in pairs}} if pairs else {}


def _time_range(file: CfFile, grid: CfGrid) -> tuple[datetime, datetime] | None:
    """What the time of the gridded variables spans: of their own dimension, or of a scalar coordinate they name."""
    dimensions = dict.fromkeys(name for variable in grid.variables for name in variable.dimensions)
    named = dict.fromkeys(name for variable in grid.variables for name in variable.text("coordinates").split())
    times = [each for name in dimensions if (each := file.coordinate(name)) is not None and is_time(each)]
    times += [each for name in named if (each := file.variables.get(name)) is not None and is_time(each)]
    standard = [each for each in times if each.text("standard_name") == "time"]
    chosen = {each.name: each for each in standard or times}
    if len(chosen) != 1:  # none, or several without a word which of them is when
        return None
    return time_range(file, *chosen.values())
