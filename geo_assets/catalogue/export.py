"""The catalogue, or some collections, as it is at one moment, in files: stac-geoparquet, or a static STAC catalogue.

Here: streaming items in bounded batches; in columns, for DuckDB, geopandas, QGIS and the like, in memory of a batch; or
as folders of JSON files with relative links, which need no server. Not here: where the files go, and the types of the
columns (`geo_assets.stac.item_columns`).

    catalog.json
    <collection>/collection.json
    <collection>/items/<item>.json
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from stac_geoparquet.arrow import to_parquet
from stac_geoparquet.arrow._api import stac_items_to_arrow

from geo_assets.errors import InvalidConfiguration
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.stac.item import STAC_VERSION
from geo_assets.stac.item_columns import ItemColumns
from geo_assets.storage.scratch import appearing_whole

BATCH_SIZE = 2_000
"""Items a batch: some 20 MB of Python objects."""

Document = dict[str, Any]
Progress = Callable[[str, int], None]
"""Told what is done, and for how many items so far."""
_OWN_RELATIONS = frozenset({"self", "root", "parent", "child", "collection", "item", "items"})
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class CatalogueReading:
    """Collections and their items, all of the same moment however long the reading takes."""

    connection: Connection
    collections: dict[str, Document]
    items: int

    def batches(self, collection_id: str | None = None) -> Iterator[list[Document]]:
        """The items of one collection, or of all that are read, in batches by a server-side cursor."""
        wanted = list(self.collections) if collection_id is None else [collection_id]
        with self.connection.cursor("items_to_export") as cursor:
            cursor.execute(read_sql("export_items"), {"collection_ids": wanted})
            while rows := cursor.fetchmany(BATCH_SIZE):
                yield [row["item"] for row in rows]


@contextmanager
def read_catalogue(connections: Connections, *collection_ids: str) -> Iterator[CatalogueReading]:
    """Read these collections, or all, in one repeatable-read transaction.

    Raises InvalidConfiguration where a collection does not exist, DatabaseUnavailable.
    """
    with connections.connect() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = connection.execute(read_sql("export_collections"), {"collection_ids": list(collection_ids) or None})
        collections = {row["collection"]["id"]: row["collection"] for row in found}
        for missing in set(collection_ids) - set(collections):
            raise InvalidConfiguration(
                f"The catalogue has no collection {missing!r}.",
                remedy="Run the job ingest_rasters for its source first.",
            )
        counted = connection.execute(
            read_sql("count_items_to_export"), {"collection_ids": list(collections)}
        ).fetchone()
        yield CatalogueReading(connection, collections, counted["items"] if counted else 0)


def write_geoparquet(reading: CatalogueReading, path: Path, *, progress: Progress = lambda _what, _items: None) -> int:
    """Write all items of ``reading`` to ``path``, a row group a batch; how many.

    The items are read twice: first for the columns they need, then for what goes into them. The file is zstd-compressed
    GeoParquet 1.1 by the stac-geoparquet specification, and holds the collections in its metadata.
    """
    columns, seen = ItemColumns(), 0
    for items in reading.batches():
        columns.add(items)
        progress("checked", seen := seen + len(items))
    to_parquet(
        _record_batches(reading, columns, progress),
        output_path=path,
        collections=reading.collections,
        compression="zstd",
    )
    with pq.ParquetFile(path) as written:
        return int(written.metadata.num_rows)


def first_rows(path: Path, *, most: int) -> list[dict[str, Any]]:
    """Up to ``most`` rows of a file this module wrote, without the columns that are structures."""
    with pq.ParquetFile(path) as file:
        plain = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
        wanted = [name for name in plain if name not in ("geometry", "proj:geometry", "type", "stac_version")]
        for batch in file.iter_batches(batch_size=most, columns=wanted):
            rows: list[dict[str, Any]] = batch.to_pylist()
            return rows
    return []


def _record_batches(reading: CatalogueReading, columns: ItemColumns, progress: Progress) -> pa.RecordBatchReader:
    batches = _converted(reading, columns, progress)
    first = next(batches, None)
    if first is None:
        return pa.RecordBatchReader.from_batches(_schema_of_no_items(), [])
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))


def _converted(reading: CatalogueReading, columns: ItemColumns, progress: Progress) -> Iterator[pa.RecordBatch]:
    schema, written = columns.schema(), 0
    for items in reading.batches():
        rows = [columns.row(item) for item in items]
        yield stac_items_to_arrow(rows, schema=schema, drop_invalid_properties=False)
        progress("wrote", written := written + len(items))


def _schema_of_no_items() -> pa.Schema:
    """The columns every file has, which the library knows of items only."""
    nowhere = {"type": "Polygon", "coordinates": []}
    item = {"id": "", "geometry": nowhere, "bbox": [0.0, 0.0, 0.0, 0.0], "properties": {}, "assets": {}}
    return stac_items_to_arrow([item], schema=ItemColumns().schema()).schema


def write_static_catalog(
    reading: CatalogueReading, folder: Path, *, progress: Callable[[int], None] = lambda _items: None
) -> int:
    """Write all that ``reading`` holds to ``folder``, which appears when it is complete; the number of items.

    Raises InvalidConfiguration where ``folder`` holds anything already.
    """
    written = 0
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidConfiguration(f"{folder} is not empty.", remedy="Name a new folder, or remove what is in it.")
    with appearing_whole(folder) as building:  # an empty folder of that name is replaced
        for collection in reading.collections.values():
            for _ in _write_collection(building / file_stem(collection["id"]), collection, reading):
                written += 1
                progress(written)
        children = [
            _link("child", f"./{file_stem(each['id'])}/collection.json", title=each.get("title"))
            for each in reading.collections.values()
        ]
        catalog = {
            "type": "Catalog",
            "stac_version": STAC_VERSION,
            "id": "geo_assets",
            "description": "The collections of geo_assets, as they stood when this was written.",
            "links": [_link("root", "./catalog.json"), *children],
        }
        _write_json(building / "catalog.json", catalog)
    return written


def file_stem(identifier: str) -> str:
    """What the file of this id is called: the id itself where it may stand in any path and link as it is."""
    plain = re.sub(r"[^A-Za-z0-9._~-]|^\.+", "_", identifier)
    if plain == identifier and len(plain) <= _LONGEST_NAME:
        return identifier
    return f"{plain[:_LONGEST_NAME]}-{hashlib.sha256(identifier.encode()).hexdigest()[:12]}"


def _write_collection(folder: Path, collection: Document, reading: CatalogueReading) -> Iterator[Path]:
    """Write the items, and a link to each into the collection as it goes: there may be a million."""
    items_folder = folder / "items"
    items_folder.mkdir(parents=True)
    links = [_link("root", "../catalog.json"), _link("parent", "../catalog.json"), *_other_links(collection)]
    with (folder / "collection.json").open("w", encoding="utf-8") as file:
        stated = {key: value for key, value in collection.items() if key != "links"}
        file.write(f'{json.dumps(stated, indent=2)[:-2]},\n  "links": [\n    ')
        file.write(",\n    ".join(map(json.dumps, links)))
        for batch in reading.batches(collection["id"]):
            for item in batch:
                path = items_folder / f"{file_stem(item['id'])}.json"
                _write_json(path, _with_relative_links(item))
                file.write(f",\n    {json.dumps(_link('item', f'./items/{path.name}'))}")
                yield path
        file.write("\n  ]\n}\n")


def _with_relative_links(item: Document) -> Document:
    links = [
        _link("root", "../../catalog.json"),
        _link("parent", "../collection.json"),
        _link("collection", "../collection.json"),
    ]
    return {**item, "links": [*links, *_other_links(item)]}


def _other_links(document: Document) -> list[Document]:
    """The links that do not say where in a catalogue the document is."""
    return [link for link in document.get("links", []) if link["rel"] not in _OWN_RELATIONS]


def _link(relation: str, href: str, *, title: str | None = None) -> Document:
    media_type = "application/geo+json" if relation == "item" else "application/json"
    return {"rel": relation, "href": href, "type": media_type, **({"title": title} if title else {})}


def _write_json(path: Path, document: Document) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
