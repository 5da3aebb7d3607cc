"""The tables that vector files became: loading and comparing them in worker processes, listing and dropping them.

Here: what assets and the command line ask for. Not here: the transaction of a file (`vectors.load`), comparing its rows
(`vectors.comparison`).
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import ceil
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from geo_assets.catalogue.items import catalogue_tables
from geo_assets.errors import CatalogueRefusal, GeoAssetsError, PermanentError, WorkersUnavailable
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.models import BlobRef
from geo_assets.postgres.locks import Lock, holding
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.agreement import ComparedTable
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.scratch import open_scratch
from geo_assets.vectors.comparison import compare_files
from geo_assets.vectors.datasets import downloaded
from geo_assets.vectors.enclosed import of_vectors, reading
from geo_assets.vectors.errors import TableInUse
from geo_assets.vectors.load import Loaded, LoadTask, load_files
from geo_assets.vectors.publish import forget_rows
from geo_assets.workers.pool import Limits, Work, WorkerPool, prepare_enclosed_runs

T = TypeVar("T")

LOAD_SECONDS = 6 * 3600
"""A file of 50 million features takes an hour; what takes six does not end."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """What a layer of a file became. ``bbox`` is in degrees, None without geometries; counts are of rows.

    ``columns`` are {"name", "original", "type"}; ``rejected`` and ``dropped`` count by reason.
    """

    source: str
    name: str
    layer: str
    table_schema: str
    table_name: str
    mode: str
    etag: str
    rows: int
    geometry_column: str
    geometry_types: list[str]
    srid: int
    bbox: list[float] | None
    columns: list[dict[str, str]]
    driver: str
    source_crs: str
    repaired: int
    split: int
    linearised: int
    rejected: Mapping[str, int]
    dropped: Mapping[str, int]
    duplicates: int
    seconds: float
    loaded_at: datetime
    run_id: str | None

    @property
    def table(self) -> str:
        """The table with its schema."""
        return f"{self.table_schema}.{self.table_name}"


@dataclass(frozen=True, slots=True)
class VectorTables:
    """The tables of vectors in the catalogue's database."""

    connections: Connections

    def load(
        self, source: Source, blob: BlobRef, *, store: BlobStore, settings: Settings, run_id: str | None
    ) -> Loaded:
        """Download a file and load its layers and their items: one process reads, another loads what that hands over.

        Raises a reason of `geo_assets.vectors.errors` or `geo_assets.errors`; the database is then as it was.
        """
        scratch = self._scratch(source.name, settings)
        scratch.mkdir(parents=True, exist_ok=True)
        return self._work(load_files, source, blob, store=store, settings=settings, scratch=scratch, run_id=run_id)

    def compare(
        self, source: Source, blob: BlobRef, *, store: BlobStore, settings: Settings
    ) -> tuple[ComparedTable, ...]:
        """Read a file as `load` does, and compare what that gives with the tables it has; nothing changes.

        Raises BlobChanged where it is loaded meanwhile, and what `load` raises.
        """
        with open_scratch(settings, needed_bytes=blob.size_bytes) as scratch:
            return self._work(compare_files, source, blob, store=store, settings=settings, scratch=scratch)

    def _work(
        self,
        work: Work[LoadTask, T | GeoAssetsError | None],
        source: Source,
        blob: BlobRef,
        *,
        store: BlobStore,
        settings: Settings,
        scratch: Path,
        run_id: str | None = None,
    ) -> T:
        """Have one process read the file, and another one do ``work`` on what that hands over."""
        prepare_enclosed_runs()
        with downloaded(store, blob, scratch=scratch) as path, reading(path, source, settings) as under_way:
            seconds = ceil(settings.vector_seconds)
            task = LoadTask(
                source,
                blob,
                under_way.handover,
                self.connections.url,
                run_id,
                store.href(blob.name),
                settings.schemas_folder,
                seconds,
            )
            pool = _pool(settings.worker_memory_mb, seconds)
            (outcome,) = pool.map(work, [task], chunk_size=1, lost=_lost)
            if outcome is None:
                under_way.check()
                raise WorkersUnavailable(f"The process that reads {blob.name} ended without a reason.")
        if isinstance(outcome, GeoAssetsError):
            raise outcome
        return outcome

    def clear_scratch(self, source: str, settings: Settings) -> None:
        """Remove what killed runs left on the disk; call it where no other run of the source is under way."""
        shutil.rmtree(self._scratch(source, settings), ignore_errors=True)

    def _scratch(self, source: str, settings: Settings) -> Path:
        """Where files of a source lie while they are read: one place a source and database."""
        digest = hashlib.sha256(self.connections.url.encode()).hexdigest()[:8]
        return settings.scratch_folder / f"{source}-{digest}"

    def all(self, source: str | None = None) -> list[VectorTable]:
        """The tables of ``source``, or of all, by file and layer."""
        return [VectorTable(**row) for row in self.connections.rows("select_vector_tables", source=source)]

    def to_catalogue(self, source: str) -> list[BlobRef]:
        """The files of ``source`` whose tables are there and whose items are not, or not as rule and patch say now."""
        return [BlobRef(**row) for row in self.connections.rows("select_tables_to_catalogue", source=source)]

    def catalogue(self, source: Source, blob: BlobRef, *, href: str, settings: Settings, run_id: str | None) -> None:
        """Load the items of a file's tables again, together. Raises what `catalogue_tables` raises."""
        with self.connections.connect() as connection, connection.transaction():
            catalogue_tables(connection, source, blob, href=href, schemas_folder=settings.schemas_folder, run_id=run_id)

    def drop_unclaimed(self, source: str) -> int:
        """Drop the tables of files that are gone or unreadable, whose items went before; of how many files.

        Raises TableInUse if a view depends on one.
        """
        names = [row["name"] for row in self.connections.rows("select_unclaimed_tables", source=source)]
        with self.connections.connect() as connection:
            for name in names:
                _drop(connection, source, name)
        return len(names)

    def drop(self, source: Source, name: str) -> list[str]:
        """Drop the tables of a file and remove their items, together; the tables. The next run makes them again.

        Raises CatalogueRefusal where the file has none, or its collection is protected; TableInUse.
        """
        if source.collection.protected:
            raise CatalogueRefusal(
                f"Collection {source.collection.id} is protected.", remedy="Remove `protected` from it in sources.yaml."
            )
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, source.collection.id),
            connection.transaction(),
        ):
            dropped = _drop(connection, source.name, name)
            if not dropped:
                raise CatalogueRefusal(
                    f"{name} of source {source.name} has no tables.", remedy="List them with `geo-assets tables list`."
                )
            claims = connection.execute(
                read_sql("release_claims_of_blob"), {"source": source.name, "name": name}
            ).fetchall()
            connection.execute(
                read_sql("delete_items"),
                {
                    "collection_ids": [row["collection_id"] for row in claims],
                    "item_ids": [row["item_id"] for row in claims],
                },
            )
            connection.execute(read_sql("unmark_described"), {"source": source.name, "names": [name]})
        return dropped


def _drop(connection: Connection, source: str, name: str) -> list[str]:
    """Drop the tables of one file, or take its rows out of shared ones; their names."""
    bound: dict[str, Any] = {"source": source, "name": name}
    try:
        with connection.transaction(), connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            connection.execute("SET LOCAL lock_timeout = '30s'")
            gone = cursor.execute(read_sql("delete_tables_of_blob"), bound).fetchall()
            for schema, table, mode in gone:
                forget_rows(cursor, schema, table, mode, bound)
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = (error.diag.message_detail or str(error)).splitlines()[0]
        raise TableInUse(f"A table of {name} cannot be dropped: {detail}.") from error
    except psycopg.errors.LockNotAvailable as error:
        raise TableInUse(f"Readers hold a table of {name}.") from error
    return [f"{schema}.{table}" for schema, table, _ in gone]


def _lost(_: LoadTask, error: PermanentError) -> GeoAssetsError:
    return of_vectors(error)


@cache
def _pool(memory_mb: int, cpu_seconds: int) -> WorkerPool:
    """One process at a time, ended with this one: a load takes a core here and one of PostgreSQL's."""
    limits = Limits(wall_seconds=LOAD_SECONDS, cpu_seconds=cpu_seconds, memory_bytes=memory_mb * 1024**2)
    pool = WorkerPool(processes=1, limits=limits)
    Finalize(None, pool.close, exitpriority=10)
    return pool
