"""The header of a NetCDF classic file (CDF-1, CDF-2, CDF-5), read by ranges.

Here: a bounded reader of dimensions, attributes, variables, and the values of coordinates. Not here: what they mean.
The libraries need a file with a path, or all of its bytes; the format is two pages long.

Source: "The NetCDF Classic Format Specification" of Unidata, and "CDF-5" of PnetCDF.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, BinaryIO

import numpy as np

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.raster.formats.cf import MAX_VALUES, MAX_VARIABLES, Array, CfFile, Variable

MAX_NAME_BYTES = 4096
MAX_ATTRIBUTE_BYTES = 1024 * 1024
MOST_RECORDS_READ = 256

_DIMENSIONS, _VARIABLES, _ATTRIBUTES, _ABSENT = 10, 11, 12, 0
_CHAR = 2
_TYPES = {1: "i1", 2: "S1", 3: "i2", 4: "i4", 5: "f4", 6: "f8", 7: "u1", 8: "u2", 9: "u4", 10: "i8", 11: "u8"}


@dataclass(slots=True)
class _Header:
    """A cursor over the header; every read is bounded and checked against the end of the file."""

    file: BinaryIO
    size_bytes: int
    wide_counts: bool
    wide_offsets: bool
    window: bytes = field(default=b"")
    window_start: int = 0
    position: int = 4

    def take(self, count: int) -> bytes:
        if self.position + count > self.size_bytes:
            raise Corrupt(
                f"The header goes on past the end of the file at {self.size_bytes}: it is cut off or damaged."
            )
        begin = self.position - self.window_start
        if begin < 0 or begin + count > len(self.window):
            self.file.seek(self.position)
            self.window_start, self.window, begin = self.position, self.file.read(max(count, 16384)), 0
            if len(self.window) < count:
                raise Corrupt(f"The file gives no {count} header bytes at {self.position}.")
        self.position += count
        return self.window[begin : begin + count]

    def integer(self) -> int:
        return int(struct.unpack(">i", self.take(4))[0])

    def count(self, most: int, what: str) -> int:
        value = int(struct.unpack(">q", self.take(8))[0]) if self.wide_counts else self.integer()
        if not 0 <= value <= most:
            raise (Corrupt if value < 0 else TooLarge)(f"The header claims {value} {what}; at most {most} are read.")
        return value

    def offset(self) -> int:
        return int(struct.unpack(">q", self.take(8))[0]) if self.wide_offsets else self.integer()

    def padded(self, count: int) -> bytes:
        return self.take(-(-count // 4) * 4)[:count]

    def name(self) -> str:
        return self.padded(self.count(MAX_NAME_BYTES, "bytes of a name")).decode("utf-8", "replace")

    def list_length(self, tag: int, most: int, what: str) -> int:
        found = self.integer()
        count = self.count(most, what)
        if found != tag and (found != _ABSENT or count):
            raise Corrupt(f"The header has no list of {what} where one is due.")
        return count


def read_netcdf_classic(file: BinaryIO) -> CfFile:
    """The variables of a file that starts with CDF and its version.

    Raises Corrupt where the header makes no sense or a variable lies past the end of the file, or TooLarge.
    """
    file.seek(0)
    version = file.read(4)[3]
    header = _Header(file, file.seek(0, os.SEEK_END), wide_counts=version == 5, wide_offsets=version != 1)
    records = header.take(8 if header.wide_counts else 4)
    dimensions = [
        (header.name(), header.count(2**62, "values along a dimension"))
        for _ in range(header.list_length(_DIMENSIONS, MAX_VARIABLES, "dimensions"))
    ]
    attributes = _attributes(header)
    layouts = [
        _read_layout(header, dimensions) for _ in range(header.list_length(_VARIABLES, MAX_VARIABLES, "variables"))
    ]
    in_records = [layout for layout in layouts if layout.is_record]
    record_bytes = in_records[0].size_bytes if len(in_records) == 1 else sum(each.padded_bytes for each in in_records)
    count = _record_count(records, in_records, record_bytes, header.size_bytes)
    for layout in layouts:
        _check_is_there(layout, records=count, record_bytes=record_bytes, size_bytes=header.size_bytes)
    variables = [layout.variable(file, records=count, record_bytes=record_bytes) for layout in layouts]
    return CfFile({variable.name: variable for variable in variables}, attributes)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a variable lies; ``shape`` has no record dimension."""

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    is_record: bool
    attributes: dict[str, Any]
    kind: int
    begin: int

    @property
    def size_bytes(self) -> int:
        """Of all its values, or of those in one record."""
        return prod(self.shape) * np.dtype(_TYPES[self.kind]).itemsize

    @property
    def padded_bytes(self) -> int:
        return -(-self.size_bytes // 4) * 4

    def variable(self, file: BinaryIO, *, records: int, record_bytes: int) -> Variable:
        number = np.dtype(_TYPES[self.kind])
        if self.attributes.get("_Unsigned") == "true" and number.kind == "i":
            number = np.dtype(f"u{number.itemsize}")
        read: Callable[[], Array] = partial(_read_values, file, self, number.newbyteorder(">"), records, record_bytes)
        return Variable(
            name=self.name,
            dimensions=self.dimensions,
            shape=(records, *self.shape) if self.is_record else self.shape,
            data_type="" if self.kind == _CHAR else number.name,
            attributes=self.attributes,
            read=read,
        )


def _read_layout(header: _Header, dimensions: list[tuple[str, int]]) -> _Layout:
    name = header.name()
    ids = [header.count(2**31, "dimensions") for _ in range(header.count(64, "dimensions of a variable"))]
    if any(number >= len(dimensions) for number in ids):
        raise Corrupt(f"The variable {name[:40]!r} has a dimension that is not there.")
    attributes = _attributes(header)
    kind = header.integer()
    if kind not in _TYPES:
        raise Corrupt(f"The variable {name[:40]!r} is of the unknown type {kind}.")
    header.take(8 if header.wide_counts else 4)  # vsize, which follows from the rest and is wrong past 4 GiB
    lengths = [dimensions[number][1] for number in ids]
    is_record = bool(lengths) and lengths[0] == 0
    return _Layout(
        name=name,
        dimensions=tuple(dimensions[number][0] for number in ids),
        shape=tuple(lengths[1:] if is_record else lengths),
        is_record=is_record,
        attributes=attributes,
        kind=kind,
        begin=header.offset(),
    )


def _attributes(header: _Header) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(header.list_length(_ATTRIBUTES, MAX_VARIABLES, "attributes")):
        name, kind = header.name(), header.integer()
        if kind not in _TYPES:
            raise Corrupt(f"The attribute {name[:40]!r} is of the unknown type {kind}.")
        number = np.dtype(_TYPES[kind]).newbyteorder(">")
        data = header.padded(header.count(MAX_ATTRIBUTE_BYTES // 8, "values of an attribute") * number.itemsize)
        found[name] = data.decode("utf-8", "replace").rstrip("\0") if kind == _CHAR else np.frombuffer(data, number)
    return found


def _record_count(field_bytes: bytes, layouts: list[_Layout], record_bytes: int, size_bytes: int) -> int:
    """How many records there are; a file still being streamed says all ones, and its length tells."""
    count = int.from_bytes(field_bytes)
    if field_bytes.strip(b"\xff") or not layouts or not record_bytes:
        return count
    return max(0, size_bytes - min(each.begin for each in layouts)) // record_bytes


def _check_is_there(layout: _Layout, *, records: int, record_bytes: int, size_bytes: int) -> None:
    if layout.begin < 0 or (layout.is_record and not records):
        return
    end = layout.begin + layout.size_bytes + ((records - 1) * record_bytes if layout.is_record else 0)
    if end > size_bytes:
        raise Corrupt(
            f"The variable {layout.name[:40]!r} lies at bytes {layout.begin} to {end}, "
            f"but the file ends at {size_bytes}: it is cut off or damaged."
        )


def _read_values(file: BinaryIO, layout: _Layout, number: np.dtype[Any], records: int, record_bytes: int) -> Array:
    size = layout.size_bytes
    wanted = range(records) if layout.is_record else range(1)
    if layout.is_record and records > MOST_RECORDS_READ:
        wanted = range(0, records, records - 1)
    if len(wanted) * size > MAX_VALUES * 8:
        raise TooLarge(f"The variable {layout.name[:40]!r} has more than {MAX_VALUES} values.")
    if number.kind == "S":
        return np.empty(0)
    parts = []
    for record in wanted:
        file.seek(layout.begin + record * record_bytes)
        parts.append(file.read(size))
    data = b"".join(parts)
    return np.frombuffer(data[: len(data) // number.itemsize * number.itemsize], number).astype(np.float64)
