"""The directories of a TIFF, read without GDAL, and the rules on its layout.

Here: what GDAL either does not tell (is the data all there, is it a Cloud Optimized GeoTIFF, where does its header end)
or tells only by following names in the file to other files (overviews). Every read is bounded, whatever the header
claims. Not here: what georeferencing and tags say (`header` asks GDAL).

Source: TIFF 6.0, section 2; BigTIFF as in libtiff.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.models import RasterMetadata

MAX_DIRECTORIES = 64
MAX_ENTRIES = 4096
MAX_TAG_BYTES = 16 * 1024 * 1024
MAX_BLOCKS_CHECKED = 2048
MAX_SAMPLES = 4096
MAX_METADATA_BYTES = 1024 * 1024
MAX_KEPT_BYTES = 16 * 1024
WINDOW_BYTES = 4096
_LONGEST_NUMBER = 64

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 256, 257, 258, 259
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _SUB_DIRECTORIES = 322, 323, 324, 325, 330
_SAMPLE_FORMAT, _COMPLEX_INTEGERS = 339, 5
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_BLOCK_TAGS = frozenset({_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS})


@dataclass(frozen=True, slots=True)
class Directory:
    """One image of a TIFF.

    ``blocks`` are (offset, size) in bytes of its first and last of ``block_count`` blocks; ``nodata_text`` is GDAL's
    nodata tag.
    ``end`` is the place after the last byte of its entries and their values.
    """

    offset: int
    end: int
    subfile_type: int
    width: int
    height: int
    samples: int
    bits: int
    has_complex_integers: bool
    compression: int
    separate_planes: bool
    tiled: bool
    block_width: int
    block_height: int
    blocks: tuple[tuple[int, int], ...]
    block_count: int
    nodata_text: str

    @property
    def is_overview(self) -> bool:
        """A reduced-resolution image that is no mask."""
        return bool(self.subfile_type & 1) and not self.subfile_type & 4

    @property
    def block_bytes(self) -> int:
        """The size of one whole block before compression."""
        return self.row_bytes * self.block_height

    @property
    def row_bytes(self) -> int:
        """The size of one row of a block before compression."""
        samples = 1 if self.separate_planes else self.samples
        return (self.block_width * samples * self.bits + 7) // 8

    @property
    def blocks_down(self) -> int:
        """How many blocks lie below one another."""
        return -(-self.height // self.block_height) if self.block_height else 0

    @property
    def blocks_needed(self) -> int:
        """How many blocks hold all of the image."""
        across = -(-self.width // self.block_width) if self.block_width else 0
        return across * self.blocks_down * (self.samples if self.separate_planes else 1)


class Tag(NamedTuple):
    """One entry of a directory; ``payload`` its ``values`` as they lie there, empty for the places of blocks."""

    number: int
    kind: int
    values: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TiffStructure:
    """The directories of a TIFF, the main image first, and the text some writers put before them.

    ``byte_order`` is "<" or ">". ``main_tags`` are those of the main image in the order of the file, empty where
    they hold more than 16 KiB.
    """

    size_bytes: int
    byte_order: str
    is_big: bool
    directories: tuple[Directory, ...]
    leading_text: bytes
    main_tags: tuple[Tag, ...]

    @property
    def main(self) -> Directory:
        """The image a reader sees first."""
        return self.directories[0]

    @property
    def overviews(self) -> tuple[Directory, ...]:
        """The main image's reduced-resolution copies, in the order of the file."""
        return tuple(each for each in self.directories[1:] if each.is_overview and each.samples == self.main.samples)


class _Entry(NamedTuple):
    tag: int
    kind: int
    values: int
    size_bytes: int
    payload_offset: int


class _Reader:
    """Bounded reads in one file's byte order and offset width."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size_bytes = file.seek(0, os.SEEK_END)
        self._window_start, self._window = 0, b""
        magic = self.bytes_at(0, 4)
        self.order = "<" if magic[:2] == b"II" else ">"
        self.big = self.unpack("H", magic[2:])[0] == 43

    def bytes_at(self, offset: int, count: int) -> bytes:
        if offset + count > self.size_bytes:
            raise Corrupt(
                f"The header needs bytes {offset} to {offset + count}, but the file ends at {self.size_bytes}: "
                "it is cut off or damaged."
            )
        begin = offset - self._window_start
        if begin < 0 or begin + count > len(self._window):
            self._read_window(offset, count)
            begin = 0
        return self._window[begin : begin + count]

    def _read_window(self, offset: int, count: int) -> None:
        """Read more than asked for: a directory is some hundred small values side by side."""
        self.file.seek(offset)
        self._window_start, self._window = offset, self.file.read(max(count, WINDOW_BYTES))
        if len(self._window) < count:
            raise Corrupt(f"The file gives {len(self._window)} of the {count} header bytes at {offset}.")

    def unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + form, data)

    def number_at(self, offset: int, form: str) -> int:
        return self.unpack(form, self.bytes_at(offset, struct.calcsize(self.order + form)))[0]

    def integers(self, entry: _Entry, *, start: int, count: int) -> tuple[int, ...]:
        size = _TYPE_SIZES[entry.kind]
        data = self.bytes_at(entry.payload_offset + start * size, count * size)
        return self.unpack(f"{count}{_INTEGERS[entry.kind]}", data)


def read_structure(file: BinaryIO) -> TiffStructure:
    """Read the directories of a file that starts with a TIFF magic.

    At most 64 directories are followed (the main image, its masks and overviews come first in practice), and
    of a directory with more than 2,048 blocks the first and the last 1,024 are looked at.
    Raises Corrupt where the header points past the end of the file or makes no sense, TooLarge where a tag
    or a directory is larger than any honest one, or the image has more than 4,096 bands.
    """
    reader = _Reader(file)
    found = list(_directories(reader))
    if not found:
        raise Corrupt("The TIFF has no image directory.")
    start = 16 if reader.big else 8
    main, main_entries = found[0]
    if main.samples > MAX_SAMPLES:
        raise TooLarge(
            f"The raster has {main.samples:,} bands; at most {MAX_SAMPLES:,} are described in an item.",
            remedy="Split it into files of fewer bands.",
        )
    return TiffStructure(
        size_bytes=reader.size_bytes,
        byte_order=reader.order,
        is_big=reader.big,
        directories=tuple(directory for directory, _ in found),
        leading_text=reader.bytes_at(start, max(0, min(512, main.offset - start))),
        main_tags=tuple(_tags(reader, main_entries)),
    )


def _tags(reader: _Reader, entries: dict[int, _Entry]) -> Iterator[Tag]:
    kept = [entry for entry in entries.values() if entry.tag not in _BLOCK_TAGS]
    if sum(entry.size_bytes for entry in kept) > MAX_KEPT_BYTES:
        return
    for entry in entries.values():
        size = 0 if entry.tag in _BLOCK_TAGS else entry.size_bytes
        yield Tag(entry.tag, entry.kind, entry.values, reader.bytes_at(entry.payload_offset, size))


def _directories(reader: _Reader) -> Iterator[tuple[Directory, dict[int, _Entry]]]:
    """The chain of directories; those the main image lists as its children come right after it."""
    pending = [reader.number_at(8, "Q") if reader.big else reader.number_at(4, "I")]
    seen: set[int] = set()
    while pending and pending[0] and len(seen) < MAX_DIRECTORIES:
        offset = pending.pop(0)
        if offset in seen:
            raise Corrupt(f"The directories form a loop at offset {offset}.")
        entries, following = _entries(reader, offset)
        if not seen and _SUB_DIRECTORIES in entries:
            pending += _all_integers(reader, entries[_SUB_DIRECTORIES], limit=MAX_DIRECTORIES)
        seen.add(offset)
        if following:
            pending.append(following)
        yield _directory(reader, offset, entries), entries


def _entries(reader: _Reader, offset: int) -> tuple[dict[int, _Entry], int]:
    count_form, entry_form, inline, link = ("Q", "HHQ8s", 8, "Q") if reader.big else ("H", "HHI4s", 4, "I")
    count = reader.number_at(offset, count_form)
    if count > MAX_ENTRIES:
        raise TooLarge(f"The directory at offset {offset} claims {count} tags; at most {MAX_ENTRIES} are read.")
    start = offset + struct.calcsize(reader.order + count_form)
    layout = struct.Struct(reader.order + entry_form)
    read_link = struct.Struct(reader.order + link).unpack
    end = start + count * layout.size
    entries: dict[int, _Entry] = {}
    place = start + layout.size - inline  # of the value of the entry at hand, where it is short enough to lie in it
    for tag, kind, number, value in layout.iter_unpack(reader.bytes_at(start, end - start)):
        size = _TYPE_SIZES.get(kind, 1) * number
        entry = _Entry(tag, kind, number, size, place if size <= inline else read_link(value)[0])
        if size > inline:
            _check_payload(reader, entry)
        if tag not in entries:
            entries[tag] = entry
        place += layout.size
    return entries, reader.number_at(end, link) if end < reader.size_bytes else 0


def _check_payload(reader: _Reader, entry: _Entry) -> None:
    end = entry.payload_offset + entry.size_bytes
    if end > reader.size_bytes:
        raise Corrupt(
            f"The value of tag {entry.tag} lies at bytes {entry.payload_offset} to {end}, "
            f"but the file ends at {reader.size_bytes}: it is cut off or damaged."
        )
    # For each value in its metadata GDAL looks through all before it.
    most = MAX_METADATA_BYTES if entry.tag == _GDAL_METADATA else MAX_TAG_BYTES
    if entry.tag not in _BLOCK_TAGS and entry.size_bytes > most:
        raise TooLarge(f"Tag {entry.tag} holds {entry.size_bytes} bytes; at most {most} are read.")


def _all_integers(reader: _Reader, entry: _Entry | None, *, limit: int) -> list[int]:
    if entry is None or entry.kind not in _INTEGERS or not entry.values:
        return []
    return list(reader.integers(entry, start=0, count=min(entry.values, limit)))


def _directory(reader: _Reader, offset: int, entries: dict[int, _Entry]) -> Directory:
    def number(tag: int, default: int) -> int:
        values = _all_integers(reader, entries.get(tag), limit=1)
        return values[0] if values else default

    width, height = number(_WIDTH, 0), number(_HEIGHT, 0)
    blocks, block_count = _blocks(reader, entries)
    tiled = _TILE_WIDTH in entries
    return Directory(
        offset=offset,
        end=_end(reader, offset, entries),
        subfile_type=number(_SUBFILE_TYPE, 0),
        width=width,
        height=height,
        samples=number(_SAMPLES, 1),
        bits=number(_BITS, 1),
        has_complex_integers=number(_SAMPLE_FORMAT, 1) == _COMPLEX_INTEGERS,
        compression=number(_COMPRESSION, 1),
        separate_planes=number(_PLANAR, 1) == 2,
        tiled=tiled,
        block_width=number(_TILE_WIDTH, width),
        block_height=number(_TILE_HEIGHT, 0) if tiled else min(number(_ROWS_PER_STRIP, height), height),
        blocks=blocks,
        block_count=block_count,
        nodata_text=_text(reader, entries.get(_GDAL_NODATA)),
    )


def _end(reader: _Reader, offset: int, entries: dict[int, _Entry]) -> int:
    count_and_link, width = (16, 20) if reader.big else (6, 12)
    table_end = offset + count_and_link + width * len(entries)
    return max([table_end, *(entry.payload_offset + entry.size_bytes for entry in entries.values())])


def _text(reader: _Reader, entry: _Entry | None) -> str:
    if entry is None or entry.size_bytes > _LONGEST_NUMBER:
        return ""
    return reader.bytes_at(entry.payload_offset, entry.size_bytes).decode("ascii", "ignore").strip("\0 ")


def _blocks(reader: _Reader, entries: dict[int, _Entry]) -> tuple[tuple[tuple[int, int], ...], int]:
    """The places of the first and the last blocks, and how many there are."""
    offsets = entries.get(_TILE_OFFSETS) or entries.get(_STRIP_OFFSETS)
    counts = entries.get(_TILE_COUNTS) or entries.get(_STRIP_COUNTS)
    if offsets is None or counts is None or {offsets.kind, counts.kind} - _INTEGERS.keys():
        return (), 0
    total = min(offsets.values, counts.values)
    if total <= MAX_BLOCKS_CHECKED:
        ranges = [(0, total)]
    else:
        half = MAX_BLOCKS_CHECKED // 2
        ranges = [(0, half), (total - half, half)]
    places = tuple(
        pair
        for start, count in ranges
        for pair in zip(
            reader.integers(offsets, start=start, count=count),
            reader.integers(counts, start=start, count=count),
            strict=True,
        )
    )
    return places, total


_UNCOMPRESSED = 1
_OLD_JPEG = 6
_LARGEST_UNTILED = 512
_LATEST_MAIN_OFFSET = 300


def check_data_is_there(structure: TiffStructure) -> None:
    """Raise Corrupt where a block of data is missing, or lies past the end of the file.

    Only offsets and sizes are compared: no pixel is read, so damage inside the data stays unseen. Of a block without
    compression its size follows from the image's, whatever the header says of it. A block at 0 of 0 bytes was never
    written, and reads as nodata.
    """
    for directory in structure.directories:
        if directory.compression == _OLD_JPEG:
            continue
        is_plain = directory.compression == _UNCOMPRESSED and directory.block_bytes > 0
        if is_plain and directory.block_count < directory.blocks_needed:
            raise Corrupt(
                f"{directory.width:,} x {directory.height:,} pixels need {directory.blocks_needed:,} blocks of data, "
                f"but the header lists {directory.block_count:,}: it is damaged."
            )
        for number, (offset, count) in enumerate(directory.blocks):
            needed = _plain_bytes(directory, number) if is_plain and (offset or count) else count
            if offset + needed > structure.size_bytes:
                raise Corrupt(
                    f"A block of data lies at bytes {offset} to {offset + needed}, "
                    f"but the file ends at {structure.size_bytes}: it is cut off or damaged."
                )


def is_cog(structure: TiffStructure) -> bool:
    """Whether the file is laid out as a Cloud Optimized GeoTIFF.

    The rules are those of rio-cogeo's ``cog_validate`` with ``strict=False``, which itself needs a path to open.
    """
    main, overviews = structure.main, structure.overviews
    images = (main, *overviews)
    return (
        all(image.tiled or max(image.width, image.height) <= _LARGEST_UNTILED for image in images)
        and main.offset <= _LATEST_MAIN_OFFSET
        and b"KNOWN_INCOMPATIBLE_EDITION=YES" not in structure.leading_text
        and all(larger.width > smaller.width for larger, smaller in pairwise(images))
        and all(earlier.offset < later.offset for earlier, later in pairwise(images))
        and _data_follows_smallest_first(images)
    )


def header_size_bytes(structure: TiffStructure) -> int | None:
    """The bytes at the front of the file that hold every directory and no pixel; None if it is not laid out so.

    Of an image with very many blocks not all places were read; its header counts where the writer promises their order.
    """
    if len(structure.directories) >= MAX_DIRECTORIES:
        return None
    all_seen = all(len(each.blocks) < MAX_BLOCKS_CHECKED for each in structure.directories)
    if not (all_seen or b"BLOCK_ORDER=ROW_MAJOR" in structure.leading_text):
        return None
    end = max(each.end for each in structure.directories)
    places = [offset for each in structure.directories for offset, count in each.blocks if offset and count]
    return end if end <= min(places, default=structure.size_bytes) else None


def with_layout(metadata: RasterMetadata, structure: TiffStructure) -> RasterMetadata:
    """The same metadata with what the layout of the file alone tells."""
    return replace(
        metadata,
        is_cog=is_cog(structure),
        byte_order="little-endian" if structure.byte_order == "<" else "big-endian",
        header_size_bytes=header_size_bytes(structure),
    )


def _data_follows_smallest_first(images: tuple[Directory, ...]) -> bool:
    """Overviews lie before the full image, the smallest first, and all after the last directory."""
    firsts = [first for image in images if (first := _first_offset(image))]
    if not firsts:
        return True
    return firsts[-1] > images[-1].offset and all(larger > smaller for larger, smaller in pairwise(firsts))


def _first_offset(directory: Directory) -> int:
    return next((offset for offset, count in directory.blocks if offset and count), 0)


def _plain_bytes(directory: Directory, number: int) -> int:
    """The size of a block without compression; the last strip of each plane has the rows that are left."""
    if directory.tiled:
        return directory.block_bytes
    if len(directory.blocks) < directory.block_count and number >= len(directory.blocks) // 2:
        number += directory.block_count - len(directory.blocks)
    if number % directory.blocks_down < directory.blocks_down - 1:
        return directory.block_bytes
    return directory.row_bytes * (directory.height - (directory.blocks_down - 1) * directory.block_height)
