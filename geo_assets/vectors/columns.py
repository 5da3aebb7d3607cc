"""Attributes as columns: the PostgreSQL type of each Arrow type, and the values as psycopg's binary COPY takes them.

Here: one type and one converter a column. Not here: names (`geo_assets.names`), geometries (`geometry`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geo_assets.vectors.errors import BadEncoding, UnloadableValue

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
