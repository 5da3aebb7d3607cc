"""Whether an item says what its blob says: the header of a raster, a member without an item, or the table of a file.

Here: comparing. Not here: opening the blob, measuring tables (`geo_assets.vectors.comparison`), and finding
the item.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry import shape

from geo_assets.errors import PermanentError
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.raster.footprint import known_footprint
from geo_assets.stac.scene import gives_geometry
from geo_assets.stac.table_item import DescribedTable

# Of the area of both: what rounding of coordinates makes of an outline is far below it.
_FOOTPRINT_TOLERANCE = 1e-6
_TRANSFORM_TOLERANCE = 1e-9
_EXTENT_TOLERANCE = 1e-9
"""Of the largest of its numbers; another release of PROJ or GEOS may round otherwise."""
_BBOX_TOLERANCE_DEGREES = 1e-6

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What PostGIS says of the rows that a file has in a table: ``columns`` are their types by name.

    ``extent`` is west, south, east, north in the table's CRS, None without geometries.
    """

    rows: int
    extent: Bounds | None
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A layer as its file gives it now, and the table it has; ``described`` is what its item is to say.

    ``lost`` rows of the file are not in the table, and ``surplus`` rows of the table are not in the file; both are 0
    where the columns differ. Without a table ``table`` is None. ``shared``: other files have rows in it too.
    """

    described: DescribedTable
    file: TableFacts
    table: TableFacts | None
    lost: int = 0
    surplus: int = 0
    shared: bool = False

    @property
    def is_misshapen(self) -> bool:
        """Whether the table is shared and has other columns, so that loading one file again cannot put it right."""
        return self.shared and self.table is not None and self.table.columns != self.file.columns


def header_disagreements(
    item: Mapping[str, Any], metadata: RasterMetadata, *, href: str, member: str | None = None
) -> list[str]:
    """What ``item`` says other than the header of its blob at ``href``, a sentence each; nothing where they agree.

    Fields of the blob's own asset go before those of the item. Of the members of a scene the one that gives it its
    outline is compared with that.
    """
    asset = _asset_at(item, href)
    if asset is None:
        return [f"no asset of the item is {href}"]
    stated = {**item["properties"], **asset}
    found = []
    if stated.get("proj:code") != metadata.crs_code:
        found.append(f"proj:code is {stated.get('proj:code')}, the header's CRS {metadata.crs_code}")
    if stated.get("proj:shape") != list(metadata.shape):
        found.append(f"proj:shape is {stated.get('proj:shape')}, the header's {list(metadata.shape)}")
    if not _same_transform(stated.get("proj:transform"), metadata.transform):
        found.append(f"proj:transform is {stated.get('proj:transform')}, the header's {metadata.transform}")
    if member is not None and not gives_geometry(item, member):
        return found
    return found + _footprint_disagreement(item, metadata)


def member_disagreements(item: Mapping[str, Any], blob: BlobRef, *, href: str) -> list[str]:
    """What the item of a scene says other than ``blob``, a member that is no raster: that it is there, and its size."""
    asset = _asset_at(item, href)
    if asset is None:
        return [f"no asset of the item is {href}"]
    if asset.get("file:size") != blob.size_bytes:
        return [f"file:size is {asset.get('file:size')}, the blob has {blob.size_bytes} bytes"]
    return []


def table_disagreements(
    items: Sequence[Mapping[str, Any]], tables: Sequence[tuple[ComparedTable, Mapping[str, Any]]]
) -> list[str]:
    """What the tables and the ``items`` of a vector file say other than the file, a sentence each.

    ``tables`` are its layers, each with the item that would be made of it now.
    """
    stated = {item["properties"].get("geo_assets:layer"): item for item in items}
    found: list[str] = []
    for compared, expected in tables:
        found += _table_differences(compared)
        layer = compared.described.layer
        if layer in stated:
            found += _item_differences(stated[layer], expected)
        else:
            found.append(f"layer {layer} has no item")
    return found


def _table_differences(compared: ComparedTable) -> Iterator[str]:
    name, file, table = compared.described.table, compared.file, compared.table
    if table is None:
        yield f"there is no table {name}"
        return
    for column, kind in file.columns.items():
        if column not in table.columns:
            yield f"table {name} has no column {column} ({kind})"
        elif table.columns[column] != kind:
            yield f"column {column} of table {name} is {table.columns[column]}, and {kind} in the file"
    for column, kind in table.columns.items():
        if column not in file.columns:
            yield f"table {name} has a column {column} ({kind}), and the file has none"
    if compared.lost:
        yield f"{_rows(compared.lost)} of the file {_are(compared.lost)} not in table {name}"
    if compared.surplus:
        yield f"{_rows(compared.surplus)} of table {name} {_are(compared.surplus)} not in the file"
    if compared.is_misshapen:
        yield (
            f"table {name} has rows of several files, so repair leaves it as it is: drop it with "
            "`geo-assets tables drop` for each of its files, then run load_vectors"
        )
    if compared.lost or compared.surplus:
        return
    if table.rows != file.rows:
        yield f"table {name} has {_rows(table.rows)}, and the file {_rows(file.rows)}"
    elif not _same_extent(table.extent, file.extent):
        yield f"the extent of table {name} is {_listed(table.extent)}, that of the file {_listed(file.extent)}"


def _item_differences(item: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    stated, wanted = item["properties"], expected["properties"]
    if stated.get("table:row_count") != wanted["table:row_count"]:
        yield (
            f"table:row_count of the item is {stated.get('table:row_count')}, and the file has "
            f"{_rows(wanted['table:row_count'])}"
        )
    if stated.get("proj:code") != wanted["proj:code"]:
        yield f"proj:code of the item is {stated.get('proj:code')}, that of the table {wanted['proj:code']}"
    said, columns = stated.get("table:columns") or [], wanted["table:columns"]
    if said != columns:
        differing = [each for each in said if each not in columns], [each for each in columns if each not in said]
        yield f"table:columns of the item has {_columns(differing[0])}, the file {_columns(differing[1])}"
    yield from _bbox_disagreement(item, expected["bbox"], "the file's")
    if not _same_bbox(shape(item["geometry"]).bounds, expected["bbox"]):
        yield f"the geometry of the item is not the extent of the file, {_listed(expected['bbox'])}"


def _columns(columns: Sequence[Mapping[str, str]]) -> str:
    said = ", ".join(
        f"{each.get('name')} ({each.get('type')}{': ' if each.get('description') else ''}{each.get('description', '')})"
        for each in columns
    )
    return said or "none beside"


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _listed(bounds: Sequence[float] | None) -> str:
    return f"[{', '.join(f'{each:.9g}' for each in bounds)}]" if bounds else "empty"


def _same_extent(one: Bounds | None, other: Bounds | None) -> bool:
    if one is None or other is None:
        return one is other
    tolerance = _EXTENT_TOLERANCE * max(1.0, *map(abs, one), *map(abs, other))
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def _same_bbox(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(
        abs(a - b) <= _BBOX_TOLERANCE_DEGREES for a, b in zip(one, other, strict=True)
    )


def _bbox_disagreement(item: Mapping[str, Any], expected: Sequence[float], whose: str) -> list[str]:
    stated = item.get("bbox") or []
    return (
        [] if _same_bbox(stated, expected) else [f"bbox of the item is {_listed(stated)}, {whose} {_listed(expected)}"]
    )


def _asset_at(item: Mapping[str, Any], href: str) -> Mapping[str, Any] | None:
    return next((asset for asset in item["assets"].values() if asset["href"] == href), None)


def _same_transform(stated: Any, header: tuple[float, ...] | None) -> bool:
    if stated is None or header is None:
        return stated is None and header is None
    scale = max(abs(value) for value in header) or 1.0
    return len(stated) >= 6 and all(
        abs(one - other) <= _TRANSFORM_TOLERANCE * scale for one, other in zip(stated[:6], header, strict=True)
    )


def _footprint_disagreement(item: Mapping[str, Any], metadata: RasterMetadata) -> list[str]:
    if item["geometry"] is None:
        return []
    try:
        footprint = known_footprint(metadata)
    except PermanentError as error:
        return [f"the item has a geometry, the header gives none: {error.message}"]
    found = _bbox_disagreement(item, footprint.bbox, "the header's")
    stated, expected = shape(item["geometry"]), shape(footprint.geometry)
    if not stated.is_valid:
        return [*found, f"the geometry is not valid: {shapely.is_valid_reason(stated)}"]
    difference = stated.symmetric_difference(expected).area
    whole = stated.union(expected).area
    if difference <= _FOOTPRINT_TOLERANCE * whole:
        return found
    return [*found, f"the geometry and the header's footprint share {1 - difference / whole:.1%} of the area of both"]
