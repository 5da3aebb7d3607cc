"""NetCDF, classic and HDF5-based: what a file's header and coordinates say, as raster metadata.

Here: from CF variables to bands, CRS, transform, footprint, cube and time. Not here: the containers
(`netcdf_classic`, `hdf5`), CF itself (`cf_grid`, `cf`). No value of a data variable is ever read.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import BinaryIO

from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint
from geo_assets.models import BandMetadata, Nodata, RasterMetadata, Refusal
from geo_assets.raster.footprint import footprint_of_grid, footprint_wgs84
from geo_assets.raster.formats.cf import CfFile, Variable, attributes_as_tags, is_time, time_range
from geo_assets.raster.formats.cf_grid import CfGrid, find_grid
from geo_assets.raster.formats.hdf5 import open_hdf5
from geo_assets.raster.formats.item_fields import build_cube_fields
from geo_assets.raster.formats.netcdf_classic import read_netcdf_classic
from geo_assets.raster.header import MAX_TAGS_PER_DOMAIN, clean_text, crs_code
from geo_assets.raster.io import GuardedFile
from geo_assets.raster.sniff import Format

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
