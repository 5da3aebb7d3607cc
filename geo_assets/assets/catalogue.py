"""The assets of the catalogue as a whole: its database, files of it, and how fast the channels fill it.

Here: pgstac_schema (install -> roles -> verify), catalog_snapshot (a source's collection as one stac-geoparquet file in
the output location), event_paths (how listing, Storage Queue and Service Bus compare, as a table and a picture). Not
here: the schemas (`geo_assets.ledger.schema`), writing the file (`geo_assets.catalogue.export`), measuring the
channels (`geo_assets.ledger.history`).
"""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from dagster import (
    AssetExecutionContext,
    Config,
    In,
    MaterializeResult,
    Nothing,
    OpExecutionContext,
    asset,
    graph_asset,
    op,
)
from pydantic import Field

from geo_assets.assets.ops import CATALOGUE, DATABASE, OWNERS, clear_failures, register_partitions, sources_partitions
from geo_assets.assets.reports import Stopwatch, paths_metadata, snapshot_metadata
from geo_assets.catalogue.export import read_catalogue
from geo_assets.display import one_line
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import SilverStore
from geo_assets.storage.scratch import open_scratch


@op(pool="pgstac", description="Bring PgSTAC and the ledger to this release's version.")
def install_schema(context: OpExecutionContext, database: Database) -> None:
    """Migrate both schemas."""
    with clear_failures():
        context.add_output_metadata(dict(database.schemas.install()))


@op(ins={"installed": In(Nothing)}, pool="pgstac", description="Create the loader and the read-only role.")
def grant_roles(context: OpExecutionContext, database: Database) -> None:
    """Create the roles and their grants."""
    with clear_failures():
        context.add_output_metadata({"roles": ", ".join(database.schemas.grant_roles())})


@op(
    ins={"granted": In(Nothing)},
    description="Check that the schemas answer and the roles may do just what they should.",
)
def verify_schema(context: OpExecutionContext, database: Database) -> None:
    """Verify versions and privileges."""
    with clear_failures():
        context.add_output_metadata(dict(database.schemas.verify()))


@graph_asset(
    description="PgSTAC and the ledger, installed, granted and verified.",
    group_name=DATABASE,
    kinds={"postgres", "postgis"},
    owners=OWNERS,
)
def pgstac_schema() -> Any:
    """install -> roles -> verify."""
    return verify_schema(grant_roles(install_schema()))


GEOPARQUET = "application/vnd.apache.parquet"
ROWS_SHOWN = 10
SECONDS_BETWEEN_WORDS = 5.0


@asset(
    partitions_def=sources_partitions,
    deps=["stac_items"],
    pool="pgstac",
    description="The source's collection as stac-geoparquet in the output location, for DuckDB, geopandas and QGIS.",
    group_name=CATALOGUE,
    kinds={"stac", "parquet"},
    owners=OWNERS,
)
def catalog_snapshot(
    context: AssetExecutionContext,
    sources_file: SourcesFile,
    database: Database,
    silver_store: SilverStore,
) -> MaterializeResult[None]:
    """Write all items of the collection, as they stand at one moment, and publish the file when it is complete."""
    # pyarrow and what stac-geoparquet imports take a second: not for every command that loads the definitions.
    from geo_assets.catalogue.export import first_rows, write_geoparquet

    with clear_failures(), Stopwatch() as watch, open_scratch(silver_store.settings) as folder:
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        database.take_turn(source.name, run_id=context.run.run_id)  # of two snapshots, the later one is published later
        path = folder / "items.parquet"
        with read_catalogue(database.connections, source.collection.id) as reading:
            items = write_geoparquet(reading, path, progress=_Words(context, reading.items))
        rows, size = first_rows(path, most=ROWS_SHOWN), path.stat().st_size
        href = silver_store.publish(path, snapshot_name(source.collection.id), content_type=GEOPARQUET)
        footprints = [item["geometry"] for item in database.catalogue.items_of(source.name, most=500)]
    return MaterializeResult(
        metadata=snapshot_metadata(
            source, items=items, size_bytes=size, href=href, rows=rows, geometries=footprints, seconds=watch.seconds
        )
    )


def snapshot_name(collection_id: str) -> str:
    """The name of a collection's snapshot in the output location."""
    return f"snapshots/{collection_id}.parquet"


class _Words:
    """Says in the run's log how far it got, every few seconds."""

    def __init__(self, context: AssetExecutionContext, items: int) -> None:
        self._log = context.log
        self._items = items
        self._spoke = monotonic()

    def __call__(self, done: str, items: int) -> None:
        if monotonic() - self._spoke >= SECONDS_BETWEEN_WORDS:
            self._spoke = monotonic()
            self._log.info(one_line(f"{done} {items:,} of {self._items:,} items"))


class Period(Config):
    """Which time is compared."""

    hours: float = Field(default=24, gt=0, description="Count what arrived in the last N hours.")


@asset(
    description="Compares the channels (listing, Storage Queue, Service Bus): what each brought, and how fast.",
    group_name=CATALOGUE,
    kinds={"postgres"},
    owners=OWNERS,
)
def event_paths(context: AssetExecutionContext, config: Period, database: Database) -> MaterializeResult[None]:
    """Ask the ledger; nothing is changed."""
    with clear_failures():
        paths = database.path_comparison.compare(since=datetime.now(UTC) - timedelta(hours=config.hours))
    for path in paths:
        context.log.info(
            one_line(", ".join(f"{name} {value}" for name, value in path.as_dict().items() if value is not None))
        )
    return MaterializeResult(metadata=paths_metadata(paths, hours=config.hours))
