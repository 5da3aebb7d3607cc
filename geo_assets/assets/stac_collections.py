"""stac_collections: the collection of a source, with the extent its items have."""

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import CATALOGUE, OWNERS
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.catalogue.pgstac import CollectionExtent
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_collection


@asset(
    partitions_def=sources_partitions,
    deps=["container_listing"],
    pool="pgstac",
    description="The STAC collection the source's items belong to, as its owner states it in sources.yaml.",
    group_name=CATALOGUE,
    kinds={"stac", "postgis"},
    owners=OWNERS,
)
def stac_collections(
    context: AssetExecutionContext,
    sources_file: SourcesFile,
    database: Database,
) -> MaterializeResult[None]:
    """Create the collection, or bring its statement and extent up to date."""
    with clear_failures():
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        database.take_turn(source.name, run_id=context.run.run_id)
        extent = refresh_collection(
            source,
            database=database,
        )
    return MaterializeResult(
        metadata={
            "collection": source.collection.id,
            "items": extent.items,
            "bbox": MetadataValue.json(extent.bbox or ()),
            "interval": MetadataValue.json([moment.isoformat() for moment in extent.interval or ()]),
        }
    )


def refresh_collection(source: Source, *, database: Database, summarize: bool = False) -> CollectionExtent:
    """Store the collection as declared with the extent of the items it has now; that extent.

    Its summaries are those of its items now where asked to ``summarize``, for that reads all of them; else they stay.
    """
    collection_id = source.collection.id
    extent = database.catalogue.collection_extent(collection_id)
    stored = database.collections.get(collection_id) or {}
    summaries = database.collections.summaries(collection_id) if summarize else stored.get("summaries")
    database.catalogue.upsert_collection(build_collection(source, extent.bbox, extent.interval, summaries=summaries))
    return extent
