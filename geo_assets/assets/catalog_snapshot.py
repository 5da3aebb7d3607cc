"""catalog_snapshot: a source's collection as one stac-geoparquet file in the output location."""

from time import monotonic

from dagster import AssetExecutionContext, MaterializeResult, asset

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import CATALOGUE, OWNERS
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.assets.reports import Stopwatch, snapshot_metadata
from geo_assets.catalogue.export import read_catalogue
from geo_assets.display import one_line
from geo_assets.resources.database import Database
from geo_assets.resources.silver import SilverStore
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.storage.scratch import open_scratch

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
