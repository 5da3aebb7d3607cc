"""Where a raster lies, if its own header does not say: by its world file, its .prj, or the source's rule.

Here: reading those few lines, and recording which of them spoke. Not here: which blobs they are (`sidecars`), and any
default: without them the CRS or the geotransform is missing.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath

import affine
import pyproj

from geo_assets.errors import MissingCrs, MissingTransform
from geo_assets.models import RasterMetadata
from geo_assets.raster.crs import stated_crs
from geo_assets.raster.header import clean_text, crs_code

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
