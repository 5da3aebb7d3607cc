"""The rows of one layer into a table of their own, by binary COPY, a batch at a time.

Here: from Arrow batches to a filled table. Not here: reading files (`vectors.reading`), and what happens to the table
(`vectors.load`).
"""

import operator
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any, Self

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format
from psycopg.rows import TupleRow

from geo_assets.names import FID, GEOMETRY, column_names
from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.copy_encoding import SIGNATURE, TRAILER, Column, column_type, encode_column, encode_rows
from geo_assets.vectors.errors import NoUsableRows, UnplaceableGeometry
from geo_assets.vectors.geometry import (
    GeometryColumn,
    GeometryTally,
    Normaliser,
    OtherGeometryType,
    column_of,
    read_geometries,
)
from geo_assets.vectors.handover import Layer
from geo_assets.vectors.paths import Mask
from geo_assets.vectors.reprojection import UnplaceableShape

Connection = psycopg.Connection[TupleRow]
_CURVES = frozenset(range(8, 15))
UNREADABLE_PLACE = "coordinates or WKT cannot be read"


@dataclass
class CopiedLayer:
    """A layer in the table ``table``: its columns, and the result for its rows."""

    layer: Layer
    table: sql.Identifier
    columns: list[Column]
    geometry: GeometryColumn
    originals: sql.Identifier | None = None
    tally: GeometryTally = field(default_factory=GeometryTally)
    rows: int = 0


def copy_layer(
    connection: Connection,
    layer: Layer,
    rule: TableRule,
    *,
    schema: str,
    table: str,
    reserved: Collection[str],
    before_batch: Callable[[], None],
) -> CopiedLayer:
    """Make ``table`` in ``schema`` and copy the layer into it, in the transaction that is open.

    Where geometries are of other types than the layer says, it is copied again into a column for any.
    Raises NoUsableRows, and what reading, normalising and converting raise.
    """
    try:
        with connection.transaction():
            return _copy(
                connection, layer, rule, schema=schema, table=table, reserved=reserved, before_batch=before_batch
            )
    except OtherGeometryType:
        with connection.transaction():
            return _copy(
                connection, layer, rule, schema=schema, table=table, reserved=reserved, before_batch=before_batch,
                any_kind=True,
            )  # fmt: skip


def _copy(
    connection: Connection,
    layer: Layer,
    rule: TableRule,
    *,
    schema: str,
    table: str,
    reserved: Collection[str],
    before_batch: Callable[[], None],
    any_kind: bool = False,
) -> CopiedLayer:
    linearise = _Linearise(connection)
    with layer.open() as (schema_of_file, batches):
        attributes = layer.attributes(schema_of_file)
        names = column_names([each.name for each in attributes], reserved=reserved)
        columns = [Column(each.name, names[each.name], column_type(each)) for each in attributes]
        first = next(batches, None)
        tally = GeometryTally()
        sample = np.empty(0, dtype=object)
        if first is not None:
            sample, _ = read_geometries(_wkb(first, layer), linearise, GeometryTally())
        geometry = column_of(None if any_kind else layer.described.geometry_type, sample, rule)
        identifier = sql.Identifier(schema, table)
        copied = CopiedLayer(layer, identifier, columns, geometry, tally=tally)
        _create_table(connection, copied)
        if rule.keep_originals:
            copied.originals = sql.Identifier(schema, f"{table}_originals")
            _create_originals(connection, copied)
        normaliser = Normaliser(rule, geometry, layer.crs, tally=tally)
        seen = 0
        with _Sender(connection, copied) as sender:
            linearise.sender = sender
            for batch in chain([first] if first is not None else [], batches):
                before_batch()
                seen += _copy_batch(connection, batch, copied, normaliser, linearise, sender, first_row=seen + 1)
    if not copied.rows and tally.rejected:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in tally.rejected.most_common())
        raise NoUsableRows(f"Layer {layer.name} has no row that can be used: {reasons}.")
    return copied


def _copy_batch(
    connection: Connection,
    batch: pa.RecordBatch,
    copied: CopiedLayer,
    normaliser: Normaliser,
    linearise: "_Linearise",
    sender: "_Sender",
    *,
    first_row: int,
) -> int:
    """Copy one batch; how many rows it had in the file."""
    layer, in_file = copied.layer, int(batch.num_rows)
    fids = list(range(first_row, first_row + in_file))
    if layer.fid is not None:
        fids = batch.column(batch.schema.get_field_index(layer.fid)).to_pylist()
    if layer.places and (misplaced := _misplaced(batch, layer)).any():
        copied.tally.rejected[UNREADABLE_PLACE] += int(np.count_nonzero(misplaced))
        batch, fids = batch.filter(pa.array(~misplaced)), list(compress(fids, ~misplaced))
    if not batch.num_rows:
        return in_file
    wkb = _wkb(batch, layer)
    geometries, as_there = read_geometries(wkb, linearise, copied.tally)
    try:
        made, kept, repaired = normaliser.normalise(wkb, geometries)
    except UnplaceableShape as error:
        where = f"Feature {fids[error.index]} of layer {layer.name}"
        raise UnplaceableGeometry(f"{where} has no exact place in EPSG:{copied.geometry.srid}: {error}.") from error
    if copied.originals is not None and repaired.any():
        sender.wait()
        _write_originals(connection, copied, list(compress(fids, repaired)), list(compress(wkb, repaired)))
    numbers = np.array(fids, dtype=np.int64)
    if not kept.all():
        batch, made, numbers = batch.filter(pa.array(kept)), made[kept], numbers[kept]
        wkb, geometries, as_there = list(compress(wkb, kept)), geometries[kept], as_there[kept]
    if batch.num_rows:
        fields = [encode_column(_column(batch, each.original), each, sender.dump) for each in copied.columns]
        as_read = np.fromiter(map(operator.is_, made, geometries), dtype=bool, count=len(made)) & as_there
        sender.send(encode_rows(numbers, fields, made, copied.geometry, wkb=wkb, as_read=as_read))
    copied.rows += int(batch.num_rows)
    return in_file


class _Sender:
    """Sends one batch while the next is prepared; whoever else wants the connection waits for it first."""

    def __init__(self, connection: Connection, copied: CopiedLayer) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, [FID, *(each.name for each in copied.columns), GEOMETRY]))
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(copied.table, names)
        self._connection = connection
        self._dumpers: dict[str, Any] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copy")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Wait for what is under way; what it raises counts where nothing else was raised."""
        try:
            self.wait()
        except psycopg.Error:
            if kind is None:
                raise
        finally:
            self._thread.shutdown()

    def send(self, rows: bytes) -> None:
        """Send these rows, once those before are there."""
        self.wait()
        self._under_way = self._thread.submit(self._copy, rows)

    def wait(self) -> None:
        """Until the connection is free. Raises what PostgreSQL said."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def dump(self, values: Sequence[Any], kind: str) -> list[bytes | None]:
        """The binary form of values that numpy has no words for, by psycopg."""
        if kind not in self._dumpers:
            name = kind.removesuffix("[]").partition("(")[0]
            info = self._connection.adapters.types[name]
            transformer = Transformer(self._connection)
            transformer.set_dumper_types([info.array_oid if kind.endswith("[]") else info.oid], Format.BINARY)
            self._dumpers[kind] = transformer
        dump = self._dumpers[kind].dump_sequence
        return [None if each is None else _as_bytes(dump([each], [PyFormat.BINARY])[0]) for each in values]

    def _copy(self, rows: bytes) -> None:
        with self._connection.cursor() as cursor, cursor.copy(self._statement) as copy:
            copy.write(SIGNATURE)
            copy.write(rows)
            copy.write(TRAILER)


def _as_bytes(value: Buffer | None) -> bytes | None:
    return None if value is None else bytes(value)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.get_field_index(name))


def _create_table(connection: Connection, copied: CopiedLayer) -> None:
    columns = [
        sql.SQL("{} bigint NOT NULL").format(sql.Identifier(FID)),
        sql.SQL("{} {}").format(sql.Identifier(GEOMETRY), sql.SQL(copied.geometry.sql_type)),
        *(sql.SQL("{} {}").format(sql.Identifier(each.name), sql.SQL(each.type)) for each in copied.columns),
    ]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(copied.table, sql.SQL(", ").join(columns)))


def _create_originals(connection: Connection, copied: CopiedLayer) -> None:
    assert copied.originals is not None
    statement = sql.SQL("CREATE TABLE {} ({} bigint NOT NULL, original_wkb bytea NOT NULL)")
    connection.execute(statement.format(copied.originals, sql.Identifier(FID)))


def _write_originals(connection: Connection, copied: CopiedLayer, fids: list[int], wkb: list[bytes | None]) -> None:
    assert copied.originals is not None
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(copied.originals)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["int8", "bytea"])
        for row in zip(fids, wkb, strict=True):
            copy.write_row(row)


def _wkb(batch: pa.RecordBatch, layer: Layer) -> list[bytes | None]:
    array = batch.column(batch.schema.get_field_index(layer.geometry))
    values: list[bytes | None] = (array.storage if isinstance(array, pa.ExtensionArray) else array).to_pylist()
    return values


def _misplaced(batch: pa.RecordBatch, layer: Layer) -> Mask:
    """Rows of a CSV file that say something of a place, of which GDAL made none."""
    states = np.zeros(batch.num_rows, dtype=bool)
    for name in layer.places:
        values = batch.column(batch.schema.get_field_index(name)).to_pylist()
        states |= np.array([value is not None and str(value).strip() != "" for value in values], dtype=bool)
    missing = np.array([each is None for each in _wkb(batch, layer)], dtype=bool)
    misplaced: Mask = states & missing
    return misplaced


class _Linearise:
    """Curves as lines, by PostGIS (32 segments a quarter): shapely has none."""

    sender: _Sender | None = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, curves: Sequence[bytes]) -> list[bytes | None]:
        return [self._one(each) if _is_curve(each) else None for each in curves]

    def _one(self, curve: bytes) -> bytes | None:
        if self.sender is not None:
            self.sender.wait()
        try:
            with self._connection.transaction():
                row = self._connection.execute(
                    "SELECT ST_AsBinary(ST_CurveToLine(%b::bytea::geometry))", (curve,)
                ).fetchone()
        except (psycopg.DataError, psycopg.InternalError):
            return None
        return None if row is None else row[0]


def _is_curve(wkb: bytes) -> bool:
    if len(wkb) < 5:
        return False
    code = int.from_bytes(wkb[1:5], "little" if wkb[0] == 1 else "big") & 0x0FFFFFFF
    return code % 1000 in _CURVES or code % 1000 == 7
