"""stac-geoparquet files: items of the catalogue in columns, for DuckDB, geopandas, QGIS and the like.

Here: one file from a reading of the catalogue, in memory of a batch. Not here: where the file goes
(`silver_store`) or the types of its columns (`geo_assets.stac.item_columns`).
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from stac_geoparquet.arrow import to_parquet
from stac_geoparquet.arrow._api import stac_items_to_arrow

from geo_assets.catalogue.reading import CatalogueReading
from geo_assets.stac.item_columns import ItemColumns

Progress = Callable[[str, int], None]
"""Told what is done, and for how many items so far."""


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
