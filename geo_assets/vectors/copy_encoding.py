"""Attributes as columns and rows as PostgreSQL's binary COPY takes them, a column at a time: Python's objects are slow.

Here: the PostgreSQL type of each Arrow type, its values, and the bytes of one batch. Not here: names
(`geo_assets.names`), geometries (`geometry`), sending the bytes (`copy`).

Source: PostgreSQL's documentation of COPY, "Binary Format", and of PostGIS's EWKB.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geo_assets.vectors.errors import BadEncoding, UnloadableValue
from geo_assets.vectors.geometry import GeometryColumn
from geo_assets.vectors.paths import Geometries, Integers, Mask

_SIMPLE: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_int8, "smallint"),
    (pa.types.is_int16, "smallint"),
    (pa.types.is_uint8, "smallint"),
    (pa.types.is_int32, "integer"),
    (pa.types.is_uint16, "integer"),
    (pa.types.is_int64, "bigint"),
    (pa.types.is_uint32, "bigint"),
    (pa.types.is_uint64, "numeric"),
    (pa.types.is_float16, "real"),
    (pa.types.is_float32, "real"),
    (pa.types.is_float64, "double precision"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_string_view, "text"),
    (pa.types.is_null, "text"),
    (pa.types.is_binary, "bytea"),
    (pa.types.is_large_binary, "bytea"),
    (pa.types.is_fixed_size_binary, "bytea"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (pa.types.is_duration, "interval"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute: its name in the file and in the table, and its type in PostgreSQL."""

    original: str
    name: str
    type: str

    @property
    def copied_as(self) -> str:
        """The type whose binary form is sent: JSON is sent as the bytes that jsonb is received from."""
        return "bytea" if self.type == "jsonb" else self.type


def column_type(field: pa.Field) -> str:
    """The PostgreSQL type that holds every value of ``field``."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType) and not _is_json(field):
        kind = kind.storage_type
    if _is_json(field) or pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
        return "jsonb"
    if pa.types.is_dictionary(kind):
        return column_type(pa.field(field.name, kind.value_type))
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})" if 0 <= kind.scale <= kind.precision else "numeric"
    if _is_list(kind):
        item = column_type(pa.field("item", kind.value_type))
        return "jsonb" if item == "jsonb" or item.endswith("[]") else f"{item.partition('(')[0]}[]"
    for is_kind, name in _SIMPLE:
        if is_kind(kind):
            return name
    return "text"


def column_values(array: pa.Array, column: Column) -> list[Any]:
    """The values of one batch, None where there is none.

    Raises BadEncoding for text that is no UTF-8, and UnloadableValue for text with a zero byte.
    """
    try:
        values: list[Any] = plain_array(array).to_pylist()
    except UnicodeDecodeError as error:
        raise BadEncoding(f"Column {column.original!r} has text that is not in the file's encoding: {error}.") from None
    except (pa.ArrowInvalid, ValueError, OverflowError) as error:
        raise UnloadableValue(f"Column {column.original!r} has a value that cannot be read: {error}.") from error
    if column.type == "jsonb":
        return [None if value is None else _json_bytes(value) for value in values]
    if column.type == "text":
        if values and not isinstance(next((value for value in values if value is not None), ""), str):
            values = [None if value is None else str(value) for value in values]
        if any(value is not None and "\0" in value for value in values):
            raise UnloadableValue(f"Column {column.original!r} has text with a zero byte.")
    return values


def plain_array(array: pa.Array) -> pa.Array:
    """Without extension types, dictionaries and nanoseconds, which Python's own types have not."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pc.cast(array, pa.timestamp("us", tz=kind.tz), safe=False)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pc.cast(array, pa.time64("us"), safe=False)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pc.cast(array, pa.duration("us"), safe=False)
    if pa.types.is_date64(kind):
        return pc.cast(array, pa.date32())
    return array


def _json_bytes(value: Any) -> bytes:
    """What jsonb is received as: its version, 1, and the text. Raises UnloadableValue for what is no JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return b"\x01" + text.encode()


def _is_json(field: pa.Field) -> bool:
    name = getattr(field.type, "extension_name", None) or (field.metadata or {}).get(b"ARROW:extension:name", b"")
    return name in ("arrow.json", b"arrow.json") or (field.metadata or {}).get(b"GDAL:OGR:subtype") == b"JSON"


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


Bytes = npt.NDArray[np.uint8]
Dump = Callable[[Sequence[Any], str], Sequence[bytes | None]]
"""The binary form of values of a type of PostgreSQL, by the database's own driver."""

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_FIXED = {
    "boolean": ">i1", "smallint": ">i2", "integer": ">i4", "bigint": ">i8", "real": ">f4", "double precision": ">f8",
}  # fmt: skip
_POSTGRES_EPOCH_DAYS = 10_957
_POSTGRES_EPOCH_US = _POSTGRES_EPOCH_DAYS * 86_400_000_000
_CODES = np.array([1, 2, 2, 3, 4, 5, 6, 7, 0], dtype=np.int64)
"""Of WKB, by shapely's type id; the last is of None, whose id is -1."""
_MULTI_CODES = np.array([4, 5, 5, 6, 4, 5, 6, 7, 0], dtype=np.int64)
_HAS_SRID, _HAS_M, _HAS_Z = 0x2000_0000, 0x4000_0000, 0x8000_0000


@dataclass(frozen=True, slots=True)
class Field:
    """One field of every row: its bytes one after the other, and how many each row has, -1 for NULL."""

    data: Bytes
    lengths: Integers


def encode_rows(
    fids: Integers,
    fields: Sequence[Field],
    geometries: Geometries,
    column: GeometryColumn,
    *,
    wkb: Sequence[bytes | None],
    as_read: Mask,
) -> bytes:
    """The rows (fid, fields..., geometry) of one batch, without signature and trailer; lines and polygons become Multi.

    ``wkb`` is what the geometries were read from: it is sent again where a geometry is still ``as_read``, since writing
    it again takes as long as reading it did.
    """
    rows = len(fids)
    types = shapely.get_type_id(geometries)
    missing = types < 0
    parts = np.empty(rows, dtype=object)
    parts[:] = wkb
    plain = as_read & ~missing & _is_plain(parts, types)
    parts[~plain] = shapely.to_wkb(geometries[~plain], byte_order=1, flavor="extended")
    promoted = column.promotes(types)
    dimensions = np.where(shapely.has_z(geometries), _HAS_Z, 0) | np.where(shapely.has_m(geometries), _HAS_M, 0)
    codes = np.where(promoted, _MULTI_CODES[types], _CODES[types]) | dimensions | _HAS_SRID
    # The head of each geometry, up to its SRID and the number of its parts, is written with the other fields; only its
    # rest is a bytes object: all of it where it is the one part of a Multi.
    head = np.zeros((rows, 13), dtype=np.uint8)
    head[:, 0] = head[:, 9] = 1
    head[:, 1:5] = codes.astype("<u4").view(np.uint8).reshape(-1, 4)
    head[:, 5:9] = np.full(rows, column.srid, dtype="<u4").view(np.uint8).reshape(-1, 4)
    head_sizes = np.where(missing, 0, np.where(promoted, 13, 9))
    rests = [
        b"" if part is None else part if whole else part[5:]
        for part, whole in zip(parts, promoted.tolist(), strict=True)
    ]
    sizes = np.fromiter(map(len, rests), dtype=np.int64, count=rows)
    said = np.where(missing, -1, sizes + head_sizes)
    heads = _heads([_fixed(fids, ">i8"), *fields], head, head_sizes, said)
    return b"".join(chain.from_iterable(zip(heads, rests, strict=True)))


def _is_plain(wkb: Geometries, types: Integers) -> Mask:
    """Whether each is WKB of its geometry as we write it: little-endian, with two dimensions and no SRID."""
    codes = _CODES.tolist()
    starts = [b"\x01" + int(code).to_bytes(4, "little") for code in codes]
    fits = (each is not None and each[:5] == starts[kind] for each, kind in zip(wkb, types.tolist(), strict=True))
    return np.fromiter(fits, dtype=bool, count=len(wkb))


def encode_column(array: pa.Array, column: Column, dump: Dump) -> Field:
    """One column of a batch. Raises BadEncoding for text that is no UTF-8, UnloadableValue for what cannot be held."""
    array = plain_array(array)
    kind = array.type
    if column.type in _FIXED and not pa.types.is_float16(kind):
        return _fixed(_numbers(array), _FIXED[column.type], array)
    if column.type == "date" and pa.types.is_date32(kind):
        days = _numbers(array.cast(pa.int32()))
        return _fixed(_since_epoch(days, _POSTGRES_EPOCH_DAYS, column), ">i4", array)
    if column.type in ("timestamp", "timestamptz"):
        moments = pc.cast(array, pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
        return _fixed(_since_epoch(_numbers(moments), _POSTGRES_EPOCH_US, column), ">i8", array)
    if column.type == "text" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return _text(array, column)
    values = dump(column_values(array, column), column.copied_as)
    lengths = np.array([-1 if each is None else len(each) for each in values], dtype=np.int64)
    return Field(np.frombuffer(b"".join(each for each in values if each is not None), dtype=np.uint8), lengths)


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    numbers: npt.NDArray[Any] = array.fill_null(0).to_numpy(zero_copy_only=False)
    return numbers


def _since_epoch(numbers: npt.NDArray[Any], epoch: int, column: Column) -> npt.NDArray[Any]:
    """Days or microseconds since 2000. Raises UnloadableValue where that is no number, or one that means infinity."""
    if len(numbers) and numbers.min() <= np.iinfo(numbers.dtype).min + epoch:
        raise UnloadableValue(f"Column {column.original!r} has a time that is out of PostgreSQL's range.")
    return numbers - epoch


def _fixed(numbers: npt.NDArray[Any], dtype: str, array: pa.Array | None = None) -> Field:
    """Numbers in network order; NULL where ``array`` has none."""
    there = np.ones(len(numbers), dtype=bool)
    if array is not None and array.null_count:
        there = array.is_valid().to_numpy(zero_copy_only=False)
        numbers = numbers[there]
    width = np.dtype(dtype).itemsize
    data = np.ascontiguousarray(numbers.astype(dtype)).view(np.uint8).ravel()
    return Field(data, np.where(there, width, -1).astype(np.int64))


def _text(array: pa.Array, column: Column) -> Field:
    """Text from Arrow's own buffers, checked whole."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise BadEncoding(f"Column {column.original!r} has text that is not in the file's encoding: {error}.") from None
    array = array.cast(pa.large_string())
    _, offsets, content = array.buffers()
    at = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(content, dtype=np.uint8) if content is not None else np.empty(0, dtype=np.uint8)
    lengths = np.diff(at)
    if array.null_count:
        there = array.is_valid().to_numpy(zero_copy_only=False)
        if lengths[~there].any():  # bytes behind a NULL are no text
            array = array.fill_null("")
            return _with_nulls(_text(array, column), there)
        lengths = np.where(there, lengths, -1)
    data = data[at[0] : at[-1]]
    if (data == 0).any():
        raise UnloadableValue(f"Column {column.original!r} has text with a zero byte.")
    return Field(data, lengths.astype(np.int64))


def _with_nulls(text: Field, there: Mask) -> Field:
    return Field(text.data, np.where(there, text.lengths, -1))


def _heads(fields: Sequence[Field], head: Bytes, head_sizes: Integers, said: Integers) -> list[bytes]:
    """Each row up to the rest of its geometry: the number of fields, the fields, the geometry's length and head."""
    rows = len(said)
    sizes = [np.maximum(each.lengths, 0) for each in fields]
    ends = np.cumsum(2 + 4 * (len(fields) + 1) + sum(sizes) + head_sizes)
    out = np.empty(int(ends[-1]) if rows else 0, dtype=np.uint8)
    at = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    begins = at.copy()
    _put(out, at, np.full(rows, len(fields) + 1, dtype=">i2").view(np.uint8).reshape(rows, 2))
    at += 2
    for field, size in zip(fields, sizes, strict=True):
        _put(out, at, field.lengths.astype(">i4").view(np.uint8).reshape(rows, 4))
        at += 4
        _scatter(out, at, field, size)
        at += size
    _put(out, at, said.astype(">i4").view(np.uint8).reshape(rows, 4))
    at += 4
    for length in (9, 13):
        chosen = head_sizes == length
        _put(out, at[chosen], head[chosen, :length])
    whole = out.tobytes()
    return [whole[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _put(out: Bytes, at: Integers, values: Bytes) -> None:
    for byte in range(values.shape[1]):
        out[at + byte] = values[:, byte]


def _scatter(out: Bytes, at: Integers, field: Field, size: Integers) -> None:
    there = field.lengths >= 0
    widths = size[there]
    if not widths.size:
        return
    if (widths == widths[0]).all():
        if widths[0]:
            _put(out, at[there], field.data.reshape(-1, int(widths[0])))
        return
    sources = np.cumsum(widths) - widths
    out[np.repeat(at[there] - sources, widths) + np.arange(len(field.data))] = field.data
