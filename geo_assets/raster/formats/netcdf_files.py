"""The variables of a NetCDF file in either of its encodings, HDF5 (NetCDF-4) and classic (CDF-1, CDF-2, CDF-5).

Here: each read by ranges, as CF variables. HDF5 so that nothing but the file's own bytes is ever read: it may name
other files by external links, in which GDAL and HDF5 follow paths of this machine, by datasets whose bytes lie
elsewhere, and by virtual datasets, and a file that has one of them anywhere is refused before anything of it is read.
Classic by a bounded reader of its own: the libraries need a file with a path, or all of its bytes, and the format is
two pages long. Not here: what variables mean (`cf`).

Source: "The NetCDF Classic Format Specification" of Unidata, and "CDF-5" of PnetCDF.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, BinaryIO

import h5py
import numpy as np

from geo_assets.errors import Corrupt, GeoAssetsError, TooLarge, UnsupportedFormat
from geo_assets.raster.bands import REAL
from geo_assets.raster.formats.cf import MAX_VALUES, MAX_VARIABLES, Array, CfFile, Variable
from geo_assets.raster.header import clean_text
from geo_assets.raster.io import GuardedFile

MAX_CHUNK_BYTES = 64 * 1024 * 1024
_INTERNAL = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
)
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


@contextmanager
def open_hdf5(guard: GuardedFile) -> Iterator[CfFile]:
    """The root group of an HDF5 file, to be read while it is open.

    Raises UnsupportedFormat where it is no NetCDF or names other files, Corrupt or TooLarge, and whatever the file
    behind ``guard`` raises.
    """
    try:
        with h5py.File(guard, "r") as file:
            _check_self_contained(file)
            yield _root(file)
    except GeoAssetsError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        guard.raise_error()
        raise Corrupt(f"HDF5 cannot read it: {clean_text(str(error))[:300]}") from error
    guard.raise_error()


def _check_self_contained(file: h5py.File) -> None:
    """Walk all groups by their links, following none that leads out."""
    seen: set[Any] = set()
    waiting = [file["/"]]
    while waiting:
        group = waiting.pop()
        for name in group:
            match group.get(name, getlink=True):
                case h5py.ExternalLink():
                    raise UnsupportedFormat(f"Its {clean_text(name)[:60]!r} is a link to another file, never followed.")
                case h5py.SoftLink():
                    continue
            member = group[name]
            key = h5py.h5o.get_info(member.id)
            if (key.fileno, key.addr) in seen:
                continue
            seen.add((key.fileno, key.addr))
            if len(seen) > MAX_VARIABLES:
                raise TooLarge(f"The file has more than {MAX_VARIABLES} groups and variables.")
            if isinstance(member, h5py.Group):
                waiting.append(member)
            elif isinstance(member, h5py.Dataset) and (member.external or member.is_virtual):
                raise UnsupportedFormat(f"Its {clean_text(name)[:60]!r} has its data in other files, never read.")


def _root(file: h5py.File) -> CfFile:
    datasets = {
        name: file[name]
        for name in file
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset)
    }
    if "_NCProperties" not in file.attrs and not any(dataset.is_scale for dataset in datasets.values()):
        raise UnsupportedFormat("The file is HDF5, but no NetCDF: it has no dimensions.")
    variables = {
        name: _variable(name, dataset)
        for name, dataset in datasets.items()
        if not bytes(_plain(dataset.attrs.get("NAME", b""), raw=True)).startswith(_NO_VARIABLE)
    }
    return CfFile(variables, _hdf5_attributes(file))


def _variable(name: str, dataset: h5py.Dataset) -> Variable:
    data_type = dataset.dtype.newbyteorder("=").name
    return Variable(
        name=name,
        dimensions=_dimensions(name, dataset),
        shape=tuple(dataset.shape or ()),
        data_type=data_type if data_type in REAL else "",
        attributes=_hdf5_attributes(dataset),
        read=partial(_hdf5_values, name, dataset),
    )


def _dimensions(name: str, dataset: h5py.Dataset) -> tuple[str, ...]:
    """The names of the scales attached to each axis; a scale is its own."""
    if dataset.is_scale and dataset.ndim == 1:
        return (name,)
    names = []
    for number, dimension in enumerate(dataset.dims):
        scale = dimension[0].name if len(dimension) else None
        names.append(str(scale).rpartition("/")[2] if scale else f"{name}[{number}]")
    return tuple(names)


def _hdf5_attributes(holder: h5py.File | h5py.Dataset) -> dict[str, Any]:
    """Attributes that are text or numbers."""
    found: dict[str, Any] = {}
    for number, name in enumerate(holder.attrs):
        if number >= MAX_VARIABLES:
            raise TooLarge(f"More than {MAX_VARIABLES} attributes.")
        if name in _INTERNAL:
            continue
        try:
            value = _plain(holder.attrs[name])
        except (OSError, TypeError, ValueError):  # a type numpy has no name for
            continue
        if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "iuf"):
            found[name] = value
    return found


def _plain(value: Any, *, raw: bool = False) -> Any:
    """Text as str (or bytes), numbers as arrays."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU" and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, bytes | str):
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return data if raw else data.decode("utf-8", "replace").rstrip("\0")
    return b"" if raw else np.asarray(value)


def _hdf5_values(name: str, dataset: h5py.Dataset) -> Array:
    chunk = prod(dataset.chunks or (1,)) * dataset.dtype.itemsize
    if dataset.size is None or dataset.size > MAX_VALUES or chunk > MAX_CHUNK_BYTES:
        raise TooLarge(f"The variable {name[:40]!r} has more than {MAX_VALUES} values, or larger chunks than are read.")
    if dataset.dtype.kind not in "iuf":
        return np.empty(0)
    return np.asarray(dataset[()], dtype=np.float64)


MAX_NAME_BYTES = 4096
MAX_ATTRIBUTE_BYTES = 1024 * 1024
MOST_RECORDS_READ = 256

_DIMENSIONS, _VARIABLES, _ATTRIBUTES, _ABSENT = 10, 11, 12, 0
_CHAR = 2
_TYPES = {1: "i1", 2: "S1", 3: "i2", 4: "i4", 5: "f4", 6: "f8", 7: "u1", 8: "u2", 9: "u4", 10: "i8", 11: "u8"}


@dataclass(slots=True)
class _ClassicHeader:
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
    header = _ClassicHeader(file, file.seek(0, os.SEEK_END), wide_counts=version == 5, wide_offsets=version != 1)
    records = header.take(8 if header.wide_counts else 4)
    dimensions = [
        (header.name(), header.count(2**62, "values along a dimension"))
        for _ in range(header.list_length(_DIMENSIONS, MAX_VARIABLES, "dimensions"))
    ]
    attributes = _classic_attributes(header)
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
        read: Callable[[], Array] = partial(
            _classic_values, file, self, number.newbyteorder(">"), records, record_bytes
        )
        return Variable(
            name=self.name,
            dimensions=self.dimensions,
            shape=(records, *self.shape) if self.is_record else self.shape,
            data_type="" if self.kind == _CHAR else number.name,
            attributes=self.attributes,
            read=read,
        )


def _read_layout(header: _ClassicHeader, dimensions: list[tuple[str, int]]) -> _Layout:
    name = header.name()
    ids = [header.count(2**31, "dimensions") for _ in range(header.count(64, "dimensions of a variable"))]
    if any(number >= len(dimensions) for number in ids):
        raise Corrupt(f"The variable {name[:40]!r} has a dimension that is not there.")
    attributes = _classic_attributes(header)
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


def _classic_attributes(header: _ClassicHeader) -> dict[str, Any]:
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


def _classic_values(file: BinaryIO, layout: _Layout, number: np.dtype[Any], records: int, record_bytes: int) -> Array:
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
