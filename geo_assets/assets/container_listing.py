"""container_listing: what lies in a source, page by page into the ledger."""

from collections import Counter

from dagster import AssetExecutionContext, MaterializeResult, asset

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import BRONZE, OWNERS
from geo_assets.assets.partitions import register_partitions, sources_partitions
from geo_assets.assets.reports import Stopwatch, listing_metadata
from geo_assets.core.listing import SourceListing
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.ledger import Ledger, ListingDiff
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sources import Source


@asset(
    partitions_def=sources_partitions,
    pool="storage",
    description="Every blob of the source with its version, listed into the ledger; what is new, changed and gone.",
    group_name=BRONZE,
    kinds={"azureblobstorage", "postgres"},
    owners=OWNERS,
)
def container_listing(
    context: AssetExecutionContext, sources_file: SourcesFile, blob_stores: BlobStores, ledger: Ledger
) -> MaterializeResult[None]:
    """List the source; a failed listing fails the step and never counts as an empty one."""
    with clear_failures(), Stopwatch() as watch:
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        diff, ignored = list_source(context, source, blob_stores=blob_stores, ledger=ledger)
        status = ledger.status(source.name)
        extensions, sizes = ledger.extensions(source.name), ledger.size_histogram(source.name)
    return MaterializeResult(
        metadata=listing_metadata(
            diff, status=status, extensions=extensions, sizes=sizes, ignored=ignored, seconds=watch.seconds
        )
    )


def list_source(
    context: AssetExecutionContext, source: Source, *, blob_stores: BlobStores, ledger: Ledger
) -> tuple[ListingDiff, Counter[str]]:
    """Stream the listing into the ledger; the diff, and how many other blobs were passed over by extension."""
    with blob_stores.open(source) as store, ledger.open_listing(source, run_id=context.run.run_id) as writer:
        listing = SourceListing(source, store.list_pages(source.prefix))
        for number, page in enumerate(listing, start=1):
            writer.add_page(page)
            if number % 20 == 0:
                context.log.info(f"{source.name}: {writer.diff.blobs:,} blobs listed")
        diff = writer.finish(complete=listing.complete)
    context.log.info(
        f"{source.name}: {diff.new} new, {diff.changed} changed, {diff.deleted} deleted, {diff.unchanged} unchanged"
        + ("" if diff.complete else f" (stopped at the limit of {source.limit}; deletions are not known)")
    )
    return diff, listing.ignored_by_extension
