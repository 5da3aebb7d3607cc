"""What an item says that neither its blob nor a rule does: patches by people, a former name, overwriting, a COG.

Here: reading a file of patches, what a patch may say, and merging it into an item; putting into an item what the ledger
knows of its blob beyond the present version, and the assets of a COG and its thumbnail. Not here: keeping patches
(`geo_assets.ledger.decisions`), telling that a blob was renamed or overwritten (`geo_assets.ledger`).
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geo_assets.display import rfc3339
from geo_assets.errors import InvalidItem, InvalidPatch
from geo_assets.raster.sniff import COG as COG_MEDIA_TYPE
from geo_assets.stac.extensions import with_extensions_used
from geo_assets.stac.schemas import ItemValidator

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


COG, THUMBNAIL = "cog", "thumbnail"
_OF_THE_FILE = ("updated", "file:size", "file:checksum", "file:byte_order", "file:header_size", "href", "type")
"""What is said of the raster's own file and not of what is in it."""


def cog_assets(data: Mapping[str, Any], cog: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Assets by key, of the COG ``cog`` (as `Remarks.cog`) of the raster whose asset is ``data``.

    A COG that is the raster itself has the same address. Of one with pixels of its own, its grid is said.
    """
    if cog["is_linked"]:
        return {COG: {**data, "title": "Cloud Optimized GeoTIFF: the file itself"}}
    facts = cog["facts"]
    bands = data.get("bands", [])
    asset = {
        **{name: value for name, value in data.items() if name not in (*_OF_THE_FILE, "bands", "storage:refs")},
        "href": cog["href"],
        "title": "Cloud Optimized GeoTIFF",
        "type": COG_MEDIA_TYPE,
        "roles": ["data"],
        "updated": rfc3339(datetime.fromisoformat(cog["made_at"]).astimezone(UTC)),
        "file:size": cog["size_bytes"],
    }
    if bands:
        asset["bands"] = [bands[number - 1] for number in facts["bands"]]
    if facts["grid"] is not None:
        asset |= facts["grid"]
        asset.pop("raster:spatial_resolution", None)
    assets = {COG: asset}
    if cog["thumbnail_href"]:
        assets[THUMBNAIL] = {
            "href": cog["thumbnail_href"],
            "title": "Thumbnail",
            "type": "image/png",
            "roles": ["thumbnail"],
        }
    return assets


def is_same_grid(cog: Mapping[str, Any]) -> bool:
    """Whether bands and grid of the COG are the raster's own, so that renders of the one hold for the other."""
    facts = cog["facts"]
    return bool(cog["is_linked"]) or (facts["grid"] is None and facts["all_bands"])


FORMER_NAME = "geo_assets:renamed_from"
PREVIOUS_ETAG = "geo_assets:previous_etag"

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the ledger knows of a blob beyond its present version, whose ordinal is ``versions_seen``.

    ``cog`` is that of this version: href, thumbnail_href, size_bytes, is_linked, made_at, and facts (`MadeCog`).
    ``patch_revision`` counts the changes of all that is said here.
    """

    versions_seen: int = 1
    previous_etag: str | None = None
    former_name: str | None = None
    patch: Mapping[str, Any] | None = None
    cog: Mapping[str, Any] | None = None
    patch_revision: int = 0


NOTHING = Remarks()


def with_remarks(item: Item, remarks: Remarks) -> Item:
    """The item of one blob with what ``remarks`` says of it."""
    former = {FORMER_NAME: remarks.former_name} if remarks.former_name is not None else {}
    if stated := {**_version(remarks), **former}:
        item = with_extensions_used({**item, "properties": {**item["properties"], **stated}})
    if remarks.cog is not None:
        item = _with_cog(item, remarks.cog)
    return item if remarks.patch is None else apply_patch(item, remarks.patch)


def scene_with_remarks(item: Item, remarks: Mapping[str, Remarks]) -> Item:
    """The item of a scene with what ``remarks`` says of its members, by blob name.

    How often a blob was overwritten is said of its asset: a scene also changes as members come and go.
    """
    if not remarks:
        return item
    assets = {
        key: {**asset, **_version(remarks.get(asset["geo_assets:blob"], NOTHING))}
        for key, asset in item["assets"].items()
    }
    for key, asset in item["assets"].items():
        cog = remarks.get(asset["geo_assets:blob"], NOTHING).cog
        for kind, made in cog_assets(asset, cog).items() if cog is not None else ():
            assets[f"{key}_{kind}"] = made
    item = with_extensions_used({**item, "assets": assets})
    patch = next((member.patch for member in remarks.values() if member.patch is not None), None)
    return item if patch is None else apply_patch(item, patch)


def check_item(item: Item, validator: ItemValidator) -> None:
    """Raise InvalidItem unless ``item`` is valid; where it is patched, the remedy names the patch."""
    try:
        validator.check(item)
    except InvalidItem as error:
        if PATCHED not in item["properties"]:
            raise
        remedy = f"{error.remedy} It is patched: `geo-assets items patches {item['properties']['geo_assets:source']}`."
        raise InvalidItem(error.message, remedy=remedy) from None


def _with_cog(item: Item, cog: Mapping[str, Any]) -> Item:
    """The item with the assets of its COG, and drawn from that where it has the raster's own grid and bands."""
    assets = {**item["assets"], **cog_assets(item["assets"]["data"], cog)}
    properties = dict(item["properties"])
    if "renders" in properties and is_same_grid(cog):
        properties["renders"] = {name: {**render, "assets": [COG]} for name, render in properties["renders"].items()}
    return with_extensions_used({**item, "properties": properties, "assets": assets})


def _version(remarks: Remarks) -> Item:
    """Nothing of a blob that was never seen to be overwritten."""
    if remarks.versions_seen < 2:
        return {}
    return {"version": str(remarks.versions_seen), PREVIOUS_ETAG: remarks.previous_etag}
