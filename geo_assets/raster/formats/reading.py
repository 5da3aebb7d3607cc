"""The header of any raster that is read: by its first bytes to the one reader of its format.

Here: that choice. Not here: reading a format (`raster.header` for GeoTIFF, the modules beside this one for the rest),
and sidecars (`placement`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.netcdf import read_netcdf_metadata
from geo_assets.raster.formats.picture import DRIVERS, read_picture_metadata
from geo_assets.raster.guarded_file import GuardedFile
from geo_assets.raster.header import read_raster_metadata, read_tiff_structure
from geo_assets.raster.sniff import Format, detect_format
from geo_assets.raster.tiff import TiffStructure


def read_structure(file: BinaryIO) -> TiffStructure | None:
    """The directories of a file that is a TIFF, None of any other that is read.

    Raises NotARaster, UnsupportedFormat, Corrupt or TooLarge, and whatever ``file`` itself raises.
    """
    return read_tiff_structure(file) if _format_of(file) is Format.GEOTIFF else None


def read_metadata(
    file: BinaryIO,
    *,
    structure: TiffStructure | None = None,
    bytes_read: Callable[[], int] | None = None,
    statistics_budget_bytes: int | None = None,
) -> RasterMetadata:
    """Read the header of one raster of any format; parameters and errors are those of `read_raster_metadata`.

    Statistics are read of GeoTIFFs only.
    """
    kind = Format.GEOTIFF if structure else _format_of(file)
    if kind is Format.GEOTIFF:
        return read_raster_metadata(
            file, structure=structure, bytes_read=bytes_read, statistics_budget_bytes=statistics_budget_bytes
        )
    if kind in DRIVERS:
        metadata = read_picture_metadata(file, kind, bytes_read=bytes_read)
    else:
        metadata = read_netcdf_metadata(file, kind, bytes_read=bytes_read)
    if statistics_budget_bytes is not None:
        return replace(metadata, statistics_source="none: pixels are read of GeoTIFFs only")
    return metadata


def _format_of(file: BinaryIO) -> Format:
    guard = GuardedFile(file)
    try:
        return detect_format(guard)
    finally:
        guard.raise_error()
