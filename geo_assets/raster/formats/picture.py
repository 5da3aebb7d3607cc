"""JPEG 2000, PNG and JPEG: rasters whose header GDAL reads through the one driver of their format.

Here: that reading, and whether the file is whole where that can be told. Not here: where a picture lies if its own
header does not say (`placement`).
"""

import os
from collections.abc import Callable
from typing import BinaryIO

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.models import RasterMetadata
from geo_assets.raster.guarded_file import GuardedFile
from geo_assets.raster.header import describe_dataset, open_raster
from geo_assets.raster.sniff import Format

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
