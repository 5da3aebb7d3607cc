"""STAC items as rows of Arrow columns: which type each field needs, found batch by batch.

Here: the schema all items of a stream fit, and an item as a row of it. Not here: the columns' layout and GeoParquet,
which are stac-geoparquet's, and files (`geo_assets.catalogue.export`). The library takes the schema from the
first batch, or holds all items in memory, and refuses a field of two types; these columns take any stream of items.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

Item = dict[str, Any]
Path = tuple[str, ...]

# JSON readers agree on integers up to here (RFC 8259, section 6); what is larger is the double it is read as.
_LARGEST_INTEGER = 2**53
# STAC writes what JSON has no number for as these words; a column of doubles has the numbers themselves.
_DENOTED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# Objects whose shape differs from item to item, and with it the type of every column made of them.
_ALWAYS_TEXT = frozenset({"proj:projjson", "cube:dimensions", "cube:variables"})
_GEOMETRIES = frozenset({"geometry", "proj:geometry"})
_LEAST = {
    ("type",): pa.string(),
    ("stac_version",): pa.string(),
    ("stac_extensions",): pa.list_(pa.string()),
    ("id",): pa.string(),
    ("geometry",): pa.binary(),
    ("bbox",): pa.list_(pa.float64()),
    ("links",): pa.list_(pa.struct({"href": pa.string(), "rel": pa.string(), "type": pa.string()})),
    ("collection",): pa.string(),
    ("properties", "datetime"): pa.string(),
}


class ItemColumns:
    """The columns that hold every item added so far.

    A field whose values have no type in common, and those known for it (`proj:projjson`, `cube:dimensions`), becomes a
    column of JSON text. A field that is null in every item has no column, as one that no item has.
    """

    def __init__(self) -> None:
        self._types: dict[Path, pa.DataType] = dict(_LEAST)
        self._text: set[Path] = set()

    def add(self, items: Sequence[Item]) -> None:
        """Widen the columns so that ``items`` fit."""
        values: dict[Path, list[Any]] = defaultdict(list)
        for item in items:
            for path, value in _fields(item):
                values[path].append(value)
        for path, column in values.items():
            if path not in self._text:
                self._widen(path, column)

    def schema(self) -> pa.Schema:
        """The schema of `row`: top-level fields, with structs `properties` and `assets`, geometries as WKB."""
        tree: dict[str, Any] = {}
        for path, kind in self._types.items():
            if (known := _without_nulls(kind)) is None:
                continue
            branch = tree
            for name in path[:-1]:
                branch = branch.setdefault(name, {})
            branch[path[-1]] = known
        return pa.schema([(name, _as_type(branch)) for name, branch in tree.items()])

    def row(self, item: Item) -> Item:
        """``item`` with each value as its column takes it; its geometries stay GeoJSON."""
        row: Item = {"properties": {}, "assets": {}}
        for path, value in _fields(item):
            branch = row
            for name in path[:-1]:
                branch = branch.setdefault(name, {})
            as_text = path in self._text and value is not None
            branch[path[-1]] = json.dumps(value) if as_text else value
        return row

    def _widen(self, path: Path, values: list[Any]) -> None:
        if path[-1] in _ALWAYS_TEXT:
            self._make_text(path)
            return
        try:
            found = pa.binary() if path[-1] in _GEOMETRIES else pa.array(values).type
            known = self._types.get(path, pa.null())
            schemas = [pa.schema([("column", kind)]) for kind in (known, found)]
            self._types[path] = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # two types, and none for both
            self._make_text(path)

    def _make_text(self, path: Path) -> None:
        self._text.add(path)
        self._types[path] = pa.string()


def _fields(item: Item) -> Iterator[tuple[Path, Any]]:
    """Each field that is a column or a part of one, with its value: of the item, its properties and its assets."""
    for key, value in item.items():
        if key not in ("properties", "assets"):
            yield (key,), _plain(key, value)
    for key, value in item["properties"].items():
        yield ("properties", key), _plain(key, value)
    for name, asset in item["assets"].items():
        for key, value in asset.items():
            yield ("assets", name, key), _plain(key, value)


def _plain(key: str, value: Any) -> Any:
    """``value`` with numbers that every reader takes alike; `nodata` is a double always."""
    if key == "nodata" and value is not None:
        return _DENOTED.get(value) if isinstance(value, str) else float(value)
    if key in _GEOMETRIES:
        return value
    if isinstance(value, dict):
        return {name: _plain(name, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(key, part) if isinstance(part, dict | list) else _plain("", part) for part in value]
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return float(value)
    return value


def _without_nulls(kind: pa.DataType) -> pa.DataType | None:
    """The type without the parts that nothing but nulls was seen of; None where that leaves nothing."""
    if pa.types.is_null(kind):
        return None
    if pa.types.is_struct(kind):
        parts = [(kind.field(i).name, _without_nulls(kind.field(i).type)) for i in range(kind.num_fields)]
        known = [(name, part) for name, part in parts if part is not None]
        return pa.struct(known) if known else None
    if pa.types.is_list(kind):
        return pa.list_(_without_nulls(kind.value_type) or pa.string())
    return kind


def _as_type(branch: Any) -> pa.DataType:
    if isinstance(branch, dict):
        return pa.struct([(name, _as_type(part)) for name, part in branch.items()])
    return branch
