"""The header of any raster that is read: by its first bytes to the one reader of its format.

Here: that choice, and JPEG 2000, PNG and JPEG, whose header GDAL reads through the one driver of their format. Not
here: reading another format (`raster.header` for GeoTIFF, the modules beside this one for the rest), and sidecars
(`placement`).
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.netcdf import read_netcdf_metadata
from geo_assets.raster.header import describe_dataset, open_raster, read_raster_metadata, read_tiff_structure
from geo_assets.raster.io import GuardedFile
from geo_assets.raster.sniff import Format, detect_format
from geo_assets.raster.tiff import TiffStructure

DRIVERS = {Format.JPEG2000: "JP2OpenJPEG", Format.PNG: "PNG", Format.JPEG: "JPEG"}

_PNG_END = b"IEND\xaeB`\x82"
_TAIL_BYTES = 4096
_MAX_BOXES = 1000


def read_picture_metadata(file: BinaryIO, kind: Format, *, bytes_read: Callable[[], int] | None) -> RasterMetadata:
    """The facts in the header of a JPEG 2000, PNG or JPEG file.

    Raises Corrupt, also where a PNG or a JPEG 2000 is cut off (a JPEG's end cannot be told from what cameras put
    after it), or TooLarge, and whatever ``file`` itself raises.
    """
    guard = GuardedFile(file)
    if kind is Format.PNG:
        _check_png_end(guard)
    if kind is Format.JPEG2000:
        _check_boxes(guard)
    with open_raster(guard, driver=DRIVERS[kind]) as dataset:
        metadata = describe_dataset(dataset, None, bytes_read or (lambda: guard.bytes_read))
    guard.raise_error()
    return metadata


def _check_png_end(file: GuardedFile) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    file.raise_error()
    if _PNG_END not in tail:
        raise Corrupt(f"The PNG has no end chunk at its end, byte {size}: it is cut off or damaged.")


def _check_boxes(file: GuardedFile) -> None:
    """Walk the boxes of a JP2 (ISO 15444-1, annex I); a bare codestream has none."""
    size, offset = file.seek(0, os.SEEK_END), 0
    for _ in range(_MAX_BOXES):
        file.seek(offset)
        head = file.read(16)
        file.raise_error()
        if offset == 0 and head.startswith(b"\xff\x4f\xff\x51"):
            return
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length == 0:  # up to the end of the file, whatever that is
            return
        end = offset + length
        if length < 8 or end > size:
            raise Corrupt(
                f"A box lies at bytes {offset} to {end}, but the file ends at {size}: it is cut off or damaged."
            )
        offset = end
    raise TooLarge(f"The JPEG 2000 file has more than {_MAX_BOXES} boxes.")


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
