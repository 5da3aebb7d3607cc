"""The header of any raster that is read, by its first bytes to the one reader of its format; and where the raster lies.

Here: that choice; JPEG 2000, PNG and JPEG, whose header GDAL reads through the one driver of their format; and the
place of a raster whose own header does not say it, by its world file, its .prj or the source's rule, with a record of
which of them spoke. Not here: reading another format (`raster.header` for GeoTIFF, the modules beside this one for the
rest), which blobs are sidecars (`geo_assets.storage.related_blobs`), and any default: without them the CRS or the
geotransform is missing.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import BinaryIO

import affine
import pyproj

from geo_assets.errors import Corrupt, MissingCrs, MissingTransform, TooLarge
from geo_assets.models import RasterMetadata
from geo_assets.raster.crs import stated_crs
from geo_assets.raster.formats.netcdf import read_netcdf_metadata
from geo_assets.raster.header import (
    clean_text,
    crs_code,
    describe_dataset,
    open_raster,
    read_raster_metadata,
    read_tiff_structure,
)
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


_WORLD_FILE_NUMBERS = 6
_LONGEST_NUMBER = 64


def place(metadata: RasterMetadata, *, sidecars: Mapping[str, bytes], assume_crs: str | None) -> RasterMetadata:
    """``metadata`` with what its ``sidecars`` (content by name) and the source's ``assume_crs`` add to it.

    What the file itself says counts before its sidecars, and those before the source's rule.
    Raises MissingTransform or MissingCrs where a sidecar is there that cannot be read, and MissingCrs where a CRS that
    was stated names a file: PROJ would open it wherever the raster is worked on.
    """
    for stated in (metadata.crs_wkt2, metadata.ground_control.crs_wkt2 if metadata.ground_control else None):
        if stated is not None:
            _check_stated(stated)
    for name, content in sidecars.items():
        file = PurePosixPath(name).name
        if name.lower().endswith(".prj"):
            if metadata.crs_wkt2 is None:
                metadata = _with_crs(metadata, _read_prj(content, file), origin=f"{file} beside it")
        elif metadata.transform is None:
            transform = read_world_file(content, file)
            metadata = replace(metadata, transform=transform, transform_source=f"world file {file} beside it")
    if metadata.crs_wkt2 is None and assume_crs is not None:
        crs = pyproj.CRS.from_user_input(assume_crs)
        metadata = _with_crs(metadata, crs, origin=f"assumed by the source: {assume_crs}")
    return metadata


def read_world_file(content: bytes, name: str) -> tuple[float, float, float, float, float, float]:
    """The geotransform of a world file, whose six numbers speak of the centre of the first pixel.

    Raises MissingTransform where it does not hold six finite numbers.
    """
    words = content.decode("ascii", "replace").split()
    try:
        if len(words) != _WORLD_FILE_NUMBERS or any(len(word) > _LONGEST_NUMBER for word in words):
            raise ValueError(f"{len(words)} values where six numbers are due")
        transform = affine.loadsw("\n".join(words))
        if not all(math.isfinite(number) for number in transform[:6]):
            raise ValueError("a number is not finite")
    except (ValueError, TypeError) as error:
        raise MissingTransform(f"{name} beside it is no world file: {clean_text(str(error))[:200]}.") from error
    a, b, c, d, e, f = transform[:6]
    return a, b, c, d, e, f


def _read_prj(content: bytes, name: str) -> pyproj.CRS:
    text = content.decode("utf-8", "replace").strip("\ufeff \t\r\n\0")
    try:
        crs = pyproj.CRS.from_wkt(text)
    except pyproj.exceptions.CRSError as error:
        raise MissingCrs(f"{name} beside it holds no coordinate reference system that PROJ knows.") from error
    _check_stated(text)
    return crs


@lru_cache(maxsize=512)
def _check_stated(text: str) -> None:
    try:
        stated_crs(text)
    except ValueError as error:
        raise MissingCrs(
            f"The CRS that it states is not accepted: {clean_text(str(error))[:200]}.",
            remedy="Write the CRS's code into the file (gdal_edit.py -a_srs EPSG:...), or upload a .prj of WKT alone.",
        ) from error


def _with_crs(metadata: RasterMetadata, crs: pyproj.CRS, *, origin: str) -> RasterMetadata:
    wkt2 = crs.to_wkt("WKT2_2019")
    outline = None if metadata.transform else metadata.footprint  # one that was worked out without a CRS
    return replace(metadata, crs_wkt2=wkt2, crs_code=crs_code(wkt2), crs_source=origin, footprint=outline)
