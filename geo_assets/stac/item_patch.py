"""Patches of items: what people state of single items beyond blobs and rules.

Here: reading a file of patches, what a patch may say, and merging it into an item. Not here: keeping patches
(`geo_assets.ledger.patches`).
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geo_assets.errors import InvalidPatch
from geo_assets.stac.extensions import with_extensions_used

PATCHED = "geo_assets:patched"
_STATED_BY_OURSELVES = ("geo_assets:", "proj:", "file:", "raster:", "storage:", "cube:", "table:")
_STATED_BY_RULES = ("datetime", "start_datetime", "end_datetime", "created", "updated", "version", "renders")
_KEYS = ("blob", "item")

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ItemPatch:
    """What one line of a file states: of the item of ``blob``, or of the item with the id ``item``, one of them None.

    ``properties`` are a JSON merge patch (RFC 7396): null takes a property away. ``line`` is for messages.
    """

    line: int
    blob: str | None
    item: str | None
    properties: Properties


def read_patches(path: Path) -> Iterator[ItemPatch]:
    """The patches of a file: .csv, or else a JSON object a line (NDJSON). Raises InvalidPatch with the line.

    NDJSON: ``{"item": "...", "properties": {...}}``, or ``blob`` in place of ``item``. CSV: a column ``item`` or
    ``blob``, every other column a property; a cell is JSON where it reads as JSON, else text, and an empty cell states
    nothing.
    """
    lines = _read_csv if path.suffix.lower() == ".csv" else _read_ndjson
    try:
        yield from lines(path)
    except UnicodeDecodeError as error:
        raise InvalidPatch(f"{path} is not UTF-8: {error}.") from error


def check_properties(properties: Mapping[str, Any]) -> None:
    """Raise InvalidPatch where a patch would state what blobs and rules state already."""
    if not properties:
        raise InvalidPatch("The patch sets no property.")
    for name in properties:
        if name in _STATED_BY_RULES or name.startswith(_STATED_BY_OURSELVES):
            raise InvalidPatch(
                f"{name} is read from the blob, or follows from the source's settings.",
                remedy="Correct the blob or sources.yaml; a patch may set only what neither of them does.",
            )


def apply_patch(item: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``item`` with ``patch`` merged into its properties, whose names it lists as ``geo_assets:patched``."""
    properties = {**_merge(item["properties"], patch), PATCHED: sorted(patch)}
    return with_extensions_used({**item, "properties": properties})


def _merge(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _read_ndjson(path: Path) -> Iterator[ItemPatch]:
    with path.open(encoding="utf-8-sig") as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                entry = json.loads(text, parse_constant=_refuse_constant)
            except ValueError as error:
                raise InvalidPatch(f"{path}, line {number} is no JSON: {error}.") from error
            if not isinstance(entry, dict) or not isinstance(entry.get("properties"), dict):
                raise InvalidPatch(f"{path}, line {number} has no properties.")
            if unknown := sorted(entry.keys() - {*_KEYS, "properties"}):
                raise InvalidPatch(f"{path}, line {number}: unknown key {', '.join(unknown)}.")
            yield _patch(path, number, {key: entry.get(key) for key in _KEYS}, entry["properties"])


def _read_csv(path: Path) -> Iterator[ItemPatch]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, restkey="", strict=True)
        try:
            for row in rows:
                if "" in row or None in row.values():
                    raise InvalidPatch(f"{path}, line {rows.line_num} has not as many cells as the first line.")
                keys = {key: row.pop(key, None) or None for key in _KEYS}
                stated = {name: _read_cell(cell) for name, cell in row.items() if cell}
                yield _patch(path, rows.line_num, keys, stated)
        except csv.Error as error:
            raise InvalidPatch(f"{path}, line {rows.line_num} is no CSV: {error}.") from error


def _patch(path: Path, line: int, keys: Mapping[str, Any], properties: Properties) -> ItemPatch:
    named = [key for key in _KEYS if keys[key] is not None]
    if len(named) != 1 or not isinstance(keys[named[0]], str):
        raise InvalidPatch(f"{path}, line {line} names not one of blob and item, as text.")
    try:
        check_properties(properties)
    except InvalidPatch as error:
        raise InvalidPatch(f"{path}, line {line}: {error.message}", remedy=error.remedy) from None
    return ItemPatch(line=line, blob=keys["blob"], item=keys["item"], properties=properties)


def _read_cell(cell: str) -> Any:
    try:
        return json.loads(cell, parse_constant=_refuse_constant)
    except ValueError:
        return cell


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
