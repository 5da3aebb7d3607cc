"""One vector file into its tables and items, in a process of its own and in one transaction: all of it, or nothing.

Here: staging, indexing, swapping and the ledger's word of it. Not here: copying rows (`vectors.copy`), the items
(`catalogue.items`), reading the file (`vectors.reading`, in a process that knows of no database), downloading and
starting both (`vectors.tables`). docs/decisions/0013-vector-tables.md says why one transaction.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg
import pyproj
import shapely
from psycopg import Cursor, sql
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from geo_assets.catalogue.items import catalogue_tables, hold_collection
from geo_assets.errors import (
    DatabaseForbids,
    DatabaseUnavailable,
    GeoAssetsError,
    InvalidConfiguration,
    TooLarge,
)
from geo_assets.foreign_errors import reason_of
from geo_assets.ledger.database import read_sql
from geo_assets.models import BlobRef
from geo_assets.names import GEOMETRY, table_names
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.locks import Lock, take_until_end
from geo_assets.sources.source import Source
from geo_assets.vectors.copy import Connection, CopiedLayer, copy_layer
from geo_assets.vectors.errors import TableInUse, TableTaken, UnloadableValue
from geo_assets.vectors.handover import Handover, Layer, ReadingFailed
from geo_assets.vectors.publish import append_rows, finish_table, forget_rows, grant_readers, replace_table
from geo_assets.workers.pool import limit_cpu

T = TypeVar("T")

LOCK_SECONDS = 30
"""How long a table that readers hold is waited for."""


_SMALLER = "Simplify or split its largest geometries, or raise GEO_ASSETS_WORKER_MEMORY_MB."
_LIMITS = "54"
"""The class of SQLSTATE for what is too much for a table: columns, the width of a row, a value in an index."""


@dataclass(frozen=True, slots=True)
class LoadTask:
    """One file to load: where its layers are handed over, and what it is."""

    source: Source
    blob: BlobRef
    handover: Handover
    database_url: str
    run_id: str | None
    href: str
    schemas_folder: Path | None
    batch_seconds: int
    """How much CPU the rows of one batch may take: GEOS may never end over one polygon."""


@dataclass(frozen=True, slots=True)
class LoadedLayer:
    """What one layer became."""

    layer: str
    table: str
    rows: int
    repaired: int
    rejected: int


Loaded = tuple[LoadedLayer, ...]


def load_files(tasks: Sequence[LoadTask], start: Callable[[int], None]) -> list[Loaded | GeoAssetsError | None]:
    """The work of a worker process: each task's layers, or the error that keeps it from being loaded."""
    return work_on_files(load_file, tasks, start)


def work_on_files(
    work: Callable[[LoadTask], T], tasks: Sequence[LoadTask], start: Callable[[int], None]
) -> list[T | GeoAssetsError | None]:
    """What ``work`` gives for each task, or the error that keeps it from that.

    None where the file was not read to its end: the reason is with the process that read it.
    """
    results: list[T | GeoAssetsError | None] = []
    for index, task in enumerate(tasks):
        start(index)
        try:
            with _memory_errors():
                results.append(work(task))
        except ReadingFailed:
            results.append(None)
        except MemoryError:
            results.append(TooLarge("Loading it takes more memory than is allowed.", remedy=_SMALLER))
        except Exception as error:  # noqa: BLE001  a file's own reason, whatever it is
            results.append(reason_of(error))
    return results


@contextmanager
def _memory_errors() -> Iterator[None]:
    """GEOS says that memory is out in words."""
    try:
        yield
    except shapely.GEOSException as error:
        if "bad_alloc" in str(error):
            raise MemoryError from error
        raise


def load_file(task: LoadTask) -> Loaded:
    """Load every chosen layer of one file and the items of its tables, and mark its version, all in one transaction.

    Raises a reason of `geo_assets.vectors.errors` or `geo_assets.errors`, or ReadingFailed; the database is
    then as it was before.
    """
    layers = task.handover.layers(assume_crs=task.source.assume_crs)
    with open_transaction(task) as connection:
        return _Load(task, connection).run(layers)


@contextmanager
def open_transaction(task: LoadTask) -> Iterator[Connection]:
    """A connection in the transaction of one file, with what it raises translated."""
    with (
        _translated(),
        database_errors(),
        psycopg.connect(
            task.database_url, connect_timeout=10, application_name="geo_assets tables", options="-c jit=off"
        ) as connection,
    ):
        connection.execute("SET LOCAL search_path = public, pgstac")
        yield connection


class _Load:
    """The transaction of one file."""

    def __init__(self, task: LoadTask, connection: Connection) -> None:
        assert task.source.tables is not None
        self._task, self._connection, self._rule = task, connection, task.source.tables
        self._bound = {"source": task.source.name, "name": task.blob.name, "run_id": task.run_id}

    def run(self, layers: Sequence[Layer]) -> Loaded:
        """Copy all layers first, then publish them with their items: what readers wait for is short."""
        schema, connection = self._rule.schema_name, self._connection
        take_until_end(self._connection, Lock.VECTOR_FILE, self._task.source.name, self._task.blob.name)
        _ensure_schema(connection, schema)
        keys = layer_keys(layers)
        tables = table_names(self._task.source, self._task.blob.name, keys)
        reserved = reserved_words(connection)
        before = connection.execute(read_sql("select_tables_of_blob"), self._bound).fetchall()
        own = {(row[1], row[2]) for row in before if row[3] == "replace"}
        for table in tables.values():
            self._check_free(table, own)
        copied: list[tuple[str, CopiedLayer, int, float]] = []
        renewed = partial(limit_cpu, self._task.batch_seconds)
        for key, layer in keys.items():
            began = time.monotonic()
            staging = f"_new_{hashlib.sha256(f'{self._bound} {key}'.encode()).hexdigest()[:24]}"
            each = copy_layer(
                connection, layer, self._rule, schema=schema, table=staging, reserved=reserved, before_batch=renewed
            )
            duplicates = finish_table(connection, each, self._rule, schema=schema, staging=staging)
            copied.append((key, each, duplicates, time.monotonic() - began))
        self._task.handover.wait_for_end()
        items = connection.cursor(row_factory=dict_row)
        hold_collection(items, self._task.source.collection.id)  # before any table: who drops one holds it first, too
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{LOCK_SECONDS}s")))
        gone = connection.execute(read_sql("delete_tables_of_blob"), self._bound).fetchall()
        kept = {(schema, table) for table in tables.values()}
        for old_schema, old_table, mode in gone:
            if mode != self._rule.mode or (old_schema, old_table) not in kept:
                forget_rows(connection, old_schema, old_table, mode, self._bound)
        loaded = []
        for key, each, duplicates, seconds in copied:
            rows = self._publish(each, tables[key])
            self._record(key, each, tables[key], rows=rows, duplicates=duplicates, seconds=seconds)
            rejected = each.tally.rejected.total()
            loaded.append(LoadedLayer(key, f"{schema}.{tables[key]}", rows, each.tally.repaired, rejected))
        marked = {**self._bound, "names": [self._task.blob.name], "etags": [self._task.blob.etag]}
        connection.execute(read_sql("mark_described"), marked)
        self._catalogue(items)
        return tuple(loaded)

    def _catalogue(self, items: Cursor[DictRow]) -> None:
        task = self._task
        catalogue_tables(
            items, task.source, task.blob, href=task.href, schemas_folder=task.schemas_folder, run_id=task.run_id
        )

    def _publish(self, copied: CopiedLayer, table: str) -> int:
        """Put the staged rows in place; how many rows the table then has of this file."""
        schema, blob = self._rule.schema_name, self._task.blob
        comment = f"Layer {copied.layer.name} of {blob.name} (source {self._task.source.name}), made by geo_assets."
        if self._rule.mode == "replace":
            replace_table(self._connection, copied, schema=schema, table=table, comment=comment)
            rows = self._connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
            ).fetchone()
            return int(rows[0]) if rows else 0
        take_until_end(self._connection, Lock.VECTOR_TABLE, schema, table)
        return append_rows(self._connection, copied, self._rule, table=table, blob=blob.name)

    def _record(self, key: str, copied: CopiedLayer, table: str, *, rows: int, duplicates: int, seconds: float) -> None:
        tally = copied.tally
        self._connection.execute(
            read_sql("store_vector_table"),
            {
                **self._bound,
                "layer": key,
                "table_schema": self._rule.schema_name,
                "table_name": table,
                "mode": self._rule.mode,
                "etag": self._task.blob.etag,
                "rows": rows,
                "geometry_column": GEOMETRY,
                "geometry_types": sorted(tally.types),
                "srid": copied.geometry.srid,
                "bbox": in_degrees(tally.bounds, copied.geometry.srid),
                "columns": Jsonb(
                    [{"name": each.name, "original": each.original, "type": each.type} for each in copied.columns]
                ),
                "driver": copied.layer.driver,
                "source_crs": copied.layer.crs.to_string() if copied.layer.crs.to_epsg() else copied.layer.crs.name,
                "repaired": tally.repaired,
                "split": tally.split,
                "linearised": tally.linearised,
                "rejected": Jsonb(dict(tally.rejected)),
                "dropped": Jsonb(dict(tally.dropped)),
                "duplicates": duplicates,
                "seconds": round(seconds, 3),
            },
        )

    def _check_free(self, table: str, own: set[tuple[str, str]]) -> None:
        """Raise TableTaken if the table is another file's, another rule's, or a person's."""
        schema, mode = self._rule.schema_name, self._rule.mode
        owners = self._connection.execute(
            read_sql("select_table_owners"), {**self._bound, "table_schema": schema, "table_name": table}
        ).fetchall()
        shared = mode != "replace" and all(row[2] == mode for row in owners)
        if owners and not shared:
            raise TableTaken(f"{schema}.{table} belongs to {owners[0][1]} of source {owners[0][0]}.")
        there = self._connection.execute("SELECT to_regclass(%s)", (f'"{schema}"."{table}"',)).fetchone()
        ours = owners or (schema, table) in own or self._is_own_shared(schema, table)
        if there is not None and there[0] is not None and not ours:
            raise TableTaken(f"{schema}.{table} already exists, and geo_assets did not make it.")

    def _is_own_shared(self, schema: str, table: str) -> bool:
        rows = self._connection.execute(read_sql("select_tables_of_blob"), self._bound).fetchall()
        return any((row[1], row[2], row[3]) == (schema, table, self._rule.mode) for row in rows)


def layer_keys(layers: Sequence[Layer]) -> dict[str, Layer]:
    """The layers by a name of their own: two files of an archive may have layers of one name."""
    keys: dict[str, Layer] = {}
    for layer in layers:
        keys[f"{layer.described.file}/{layer.name}" if layer.name in keys else layer.name] = layer
    return keys


def _ensure_schema(connection: Connection, schema: str) -> None:
    there = connection.execute("SELECT to_regnamespace(%s)", (f'"{schema}"',)).fetchone()
    if there is None or there[0] is None:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        grant_readers(connection, "GRANT USAGE ON SCHEMA {} TO {}", sql.Identifier(schema))


def reserved_words(connection: Connection) -> frozenset[str]:
    """The words that no column may be called."""
    rows = connection.execute("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')").fetchall()
    return frozenset(row[0] for row in rows)


def in_degrees(bounds: tuple[float, float, float, float] | None, srid: int) -> list[float] | None:
    """West, south, east, north in degrees of bounds in the CRS of ``srid``."""
    if bounds is None or srid == 4326:
        return None if bounds is None else list(bounds)
    transformer = pyproj.Transformer.from_crs(srid, 4326, always_xy=True)
    return [float(each) for each in transformer.transform_bounds(*bounds)]


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what PostgreSQL says of values, tables and privileges into ours."""
    try:
        yield
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = (error.diag.message_detail or str(error)).splitlines()[0]
        raise TableInUse(f"The table cannot be replaced: {detail}.") from error
    except DatabaseForbids as error:
        raise InvalidConfiguration(
            f"PostgreSQL refuses to make the table: {str(error.__cause__).splitlines()[0]}.",
            remedy="Grant CREATE on the database and on tables.schema to the user of GEO_ASSETS_DATABASE_URL.",
        ) from error
    except (
        psycopg.DataError, psycopg.IntegrityError, psycopg.InternalError, psycopg.ProgrammingError,
        psycopg.NotSupportedError,
    ) as error:  # fmt: skip
        context = (error.diag.context or "").splitlines()
        said = f"{str(error).splitlines()[0]}{f' ({context[0][:200]})' if context else ''}"
        raise UnloadableValue(f"PostgreSQL refuses a value: {said}.") from error
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, psycopg.Error) and (error.__cause__.sqlstate or "").startswith(_LIMITS):
            said = str(error.__cause__).splitlines()[0]
            raise UnloadableValue(
                f"PostgreSQL cannot hold the table: {said}.",
                remedy="Choose fewer columns with tables.columns in sources.yaml, or index others.",
            ) from error
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise TableInUse(f"Readers hold the table for more than {LOCK_SECONDS} s.") from error
        raise
