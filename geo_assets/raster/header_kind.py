"""Headers of one kind: those that differ only in where the raster lies and when it was made.

GDAL takes a millisecond for a header, and an archive holds thousands that say the same but for tie point and date.
Of each kind GDAL reads the first; for the others its answer is taken with their own place and date put in.
Whatever else a directory holds is part of the kind, so a header that differs in anything unknown is read by GDAL.

Here: what a kind is, and what each raster has of its own. Not here: asking GDAL (`raster`).
"""

import struct
from collections.abc import Hashable
from dataclasses import dataclass, replace

from geo_assets.models import RasterMetadata
from geo_assets.raster.tiff import Tag, TiffStructure, with_layout

MOST_KINDS = 1000
"""A process remembers this many; then all are forgotten, and learnt again."""

_PIXEL_SCALE, _TIE_POINT, _DATETIME = 33550, 33922, 306
_DOUBLE, _ASCII = 12, 2
_DATETIME_BYTES = 20
# Their values are places in the file, where more metadata lie: EXIF, GPS, interoperability.
_POINTERS = frozenset({34665, 34853, 40965})
# For others GDAL looks into the data as well: JPEG, WebP, LERC. These: none, LZW, deflate, PackBits, deflate, zstd.
_PLAIN_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946, 50000})
_STRUCTURAL = b"GDAL_STRUCTURAL_METADATA_SIZE"


@dataclass(frozen=True, slots=True)
class _Own:
    """What a raster has of its own: CRS coordinates of the corner of its first pixel's tie point, and its date."""

    tie_x: float = 0.0
    tie_y: float = 0.0
    scale_x: float = 0.0
    scale_y: float = 0.0
    datetime: str = ""


_known: dict[Hashable, RasterMetadata] = {}


def recall(structure: TiffStructure) -> RasterMetadata | None:
    """The metadata of this header, by what GDAL said of another of its kind; None where none was remembered.

    ``bytes_read`` is that other's, and the footprint None.
    """
    split = _split(structure)
    known = _known.get(split[0]) if split else None
    return _with_own(known, split[1], structure) if known and split else None


def remember(structure: TiffStructure, metadata: RasterMetadata) -> None:
    """Keep what GDAL said of this header for others of its kind, if the rules here come to what GDAL came to."""
    split = _split(structure)
    if split is None or _with_own(metadata, split[1], structure) != metadata:
        return
    if len(_known) >= MOST_KINDS:
        forget()
    _known[split[0]] = metadata


def forget() -> None:
    """Have GDAL read the next header of every kind again."""
    _known.clear()


def _with_own(metadata: RasterMetadata, own: _Own, structure: TiffStructure) -> RasterMetadata:
    transform, tags = metadata.transform, metadata.tags
    if own.scale_x:
        # GDAL's own order of operations: the last bit counts.
        half = 0.5 if metadata.area_or_point == "Point" else 0.0
        x, y = own.tie_x - own.scale_x * half, own.tie_y - -own.scale_y * half
        transform = (own.scale_x, 0.0, x, 0.0, -own.scale_y, y)
    if own.datetime:
        tags = {**tags, "": {**tags.get("", {}), "TIFFTAG_DATETIME": own.datetime}}
    return replace(with_layout(metadata, structure), transform=transform, tags=tags)


def _split(structure: TiffStructure) -> tuple[Hashable, _Own] | None:
    """The kind of a header and what is its own, or None where it is of no kind that can be told."""
    tags = {tag.number: tag for tag in structure.main_tags}
    if not tags or _POINTERS & tags.keys() or structure.main.compression not in _PLAIN_COMPRESSIONS:
        return None
    own = _Own()
    if place := _place(tags, structure.byte_order):
        own = place
        tags[_TIE_POINT] = tags[_TIE_POINT]._replace(payload=b"")
    if date := _date(tags.get(_DATETIME)):
        own = replace(own, datetime=date)
        tags[_DATETIME] = tags[_DATETIME]._replace(payload=b"")
    text = structure.leading_text if structure.leading_text.startswith(_STRUCTURAL) else b""
    others = tuple((each.subfile_type, each.width, each.height, each.samples) for each in structure.directories[1:])
    return (structure.byte_order, structure.is_big, tuple(tags.values()), text, others), own


def _place(tags: dict[int, Tag], byte_order: str) -> _Own | None:
    """The place of a raster with one tie point at its very corner and north up; of any other it is part of the kind."""
    tie, scale = tags.get(_TIE_POINT), tags.get(_PIXEL_SCALE)
    if tie is None or scale is None or (tie.kind, tie.values, scale.kind, scale.values) != (_DOUBLE, 6, _DOUBLE, 3):
        return None
    column, row, level, x, y, z = struct.unpack(byte_order + "6d", tie.payload)
    scale_x, scale_y, _ = struct.unpack(byte_order + "3d", scale.payload)
    if any((column, row, level, z)) or not (scale_x > 0 and scale_y > 0):
        return None
    return _Own(tie_x=x, tie_y=y, scale_x=scale_x, scale_y=scale_y)


def _date(tag: Tag | None) -> str:
    """A date of the form TIFF 6.0 prescribes, "" for anything else."""
    if tag is None or (tag.kind, tag.values) != (_ASCII, _DATETIME_BYTES) or not tag.payload.endswith(b"\0"):
        return ""
    text = tag.payload[:-1].decode("ascii", "replace")
    return text if text.isprintable() and text.isascii() and text.strip() == text else ""
