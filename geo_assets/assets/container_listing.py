"""container_listing: what lies in a source, page by page into the ledger; and a dry run, which writes nothing.

Here: both listings of a source, that of a run and the one that only says what a run would do. Not here: the figures of
a dry run (`plan`), which blobs a source has (`geo_assets.storage.listing`), comparing (`geo_assets.ledger.listings`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import reduce

from dagster import AssetExecutionContext, Config, MaterializeResult, asset
from pydantic import Field

from geo_assets.assets.census import SAMPLE, repair_source, repairs
from geo_assets.assets.ops import BRONZE, OWNERS, clear_failures, register_partitions, sources_partitions
from geo_assets.assets.plan import SourcePlan
from geo_assets.assets.reports import Stopwatch, listing_metadata
from geo_assets.display import one_line
from geo_assets.errors import InvalidConfiguration, MarkerRefused
from geo_assets.ledger.listings import ListingDiff
from geo_assets.ledger.schema import check_schema
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import BlobStore, reading_ahead
from geo_assets.storage.listing import SourceListing, build_matcher, outside_shards, timed_pages
from geo_assets.storage.related_blobs import page_marker


class ListingOptions(Config):
    """How to list."""

    dry_run: bool = Field(
        default=False, description="Only say what a run would find and do; nothing after the listing runs."
    )
    sample: int = Field(
        default=SAMPLE, ge=0, le=100_000, description="Number of random blobs that the job reconcile opens again."
    )


@asset(
    partitions_def=sources_partitions,
    pool="storage",
    output_required=False,
    description="Every blob of the source with its version, listed into the ledger; what is new, changed and gone.",
    group_name=BRONZE,
    kinds={"azureblobstorage", "postgres"},
    owners=OWNERS,
)
def container_listing(
    context: AssetExecutionContext,
    config: ListingOptions,
    sources_file: SourcesFile,
    blob_stores: BlobStores,
    database: Database,
) -> Iterator[MaterializeResult[None]]:
    """List the source; a failed listing fails the step, never counts as an empty one, and continues next time.

    In a run of the job `reconcile` what disagrees with the catalogue goes back to the work that is left.
    A dry run materializes nothing, and so skips every step that waits for the listing.
    """
    with clear_failures(), Stopwatch() as watch:
        source = sources_file.get(context.partition_key)
        register_partitions(context.instance, [source.name])
        check_schema(database.connections)
        if config.dry_run:
            plan = plan_source(source, blob_stores=blob_stores, database=database)
            context.log.info(
                one_line("dry run: " + ", ".join(f"{name} {value}" for name, value in plan.as_dict().items()))
            )
            return
        database.take_turn(source.name, run_id=context.run.run_id)
        diff, ignored = list_source(
            context,
            source,
            blob_stores=blob_stores,
            database=database,
            event_allowance=sources_file.event_allowance(source),
        )
        database.sources.clear_trouble(source.name)
        database.scenes.group_blobs(source, run_id=context.run.run_id)
        if adopted := database.handover.take_over(source, sources_file.all(), complete=diff.complete):
            context.log.info(
                one_line(f"{source.name}: {adopted:,} blobs taken over from a source that is no longer declared")
            )
        repaired: Mapping[str, int] = {}
        if repairs(context.run):
            repair = repair_source(
                source,
                blob_stores=blob_stores,
                database=database,
                declared=list(sources_file.all()),
                sample=config.sample,
            )
            repaired = repair.mended
            context.log.info(one_line("repair: " + ", ".join(f"{name} {number}" for name, number in repaired.items())))
        status = database.blobs.status(source.name)
        extensions, sizes = database.blobs.extensions(source.name), database.blobs.size_histogram(source.name)
    metadata = listing_metadata(
        diff,
        status=status,
        extensions=extensions,
        sizes=sizes,
        ignored=ignored,
        seconds=watch.seconds,
        tags=context.run.tags,
    )
    yield MaterializeResult(metadata=metadata | {f"repaired_{name}": number for name, number in repaired.items()})


def list_source(
    context: AssetExecutionContext,
    source: Source,
    *,
    blob_stores: BlobStores,
    database: Database,
    event_allowance: timedelta | None,
) -> tuple[ListingDiff, Counter[str]]:
    """Stream the listing into the ledger, shard by shard; the diff, and the blobs passed over by extension.

    Raises InvalidConfiguration, after all shards were listed, where blobs of the source lie in none of them.
    """
    ignored: Counter[str] = Counter()
    with blob_stores.open(source) as store:
        shards = database.listings.shards_in_turn(source)
        diffs = [
            _list_shard(
                context, source, shard, store=store, database=database, ignored=ignored, event_allowance=event_allowance
            )
            for shard in shards
        ]
        if source.shards:
            diffs.append(_look_outside_shards(context, source, store=store, database=database))
    diff = reduce(ListingDiff.__add__, diffs)
    diff = replace(diff, renamed=database.deletions.record_renames(source, run_id=context.run.run_id))
    said = (
        f"{source.name}: {diff.new} new, {diff.changed} changed, {diff.deleted} deleted, {diff.unchanged} unchanged"
        + (f", {diff.renamed} of the new are renamed" if diff.renamed else "")
        + (f"; events should have reported {diff.repaired} of them" if diff.repaired else "")
        + ("" if diff.complete else f" (stopped at the limit of {source.limit}; deletions are not known)")
    )
    context.log.info(one_line(said))
    return diff, ignored


def _list_shard(
    context: AssetExecutionContext,
    source: Source,
    shard: str,
    *,
    store: BlobStore,
    database: Database,
    ignored: Counter[str],
    event_allowance: timedelta | None,
) -> ListingDiff:
    """List one shard ("" the whole source) from where an earlier run left off; counts go into ``ignored`` as well."""
    name = f"{source.name}/{shard}".rstrip("/")
    run_id = context.run.run_id
    with (
        database.listings.open_listing(source, run_id=run_id, shard=shard, event_allowance=event_allowance) as writer,
        database.open_clock() as now,
    ):
        if writer.marker is not None:
            context.log.info(one_line(f"{name}: going on after {writer.diff.blobs:,} blobs that an earlier run listed"))
        fetched = timed_pages(store.list_pages(source.prefix + shard, marker=page_marker(writer.marker)), now)
        try:
            with reading_ahead(fetched) as pages:
                listing = SourceListing(
                    source, pages, listed=writer.diff.blobs, ignored=writer.ignored, marker=writer.marker
                )
                for number, page in enumerate(listing, start=1):
                    writer.add_page(page, ignored=listing.ignored_by_extension)
                    if number % 20 == 0:
                        context.log.info(one_line(f"{name}: {writer.diff.blobs:,} blobs listed"))
        except MarkerRefused:
            writer.start_over_next_time()
            raise
        ignored.update(listing.ignored_by_extension)
        return writer.finish(complete=listing.complete)


def _look_outside_shards(
    context: AssetExecutionContext, source: Source, *, store: BlobStore, database: Database
) -> ListingDiff:
    """Check that the shards hold the whole source; what the ledger has outside them is then gone."""
    matches, as_of = build_matcher(source), database.now()
    for found in outside_shards(source, store.list_level):
        names = (blob.name for page in store.list_pages(found) for blob in page) if found.endswith("/") else [found]
        if any(map(matches, names)):
            raise InvalidConfiguration(
                f"{source.name} has blobs outside its shards: {found}.",
                remedy=f"Add a shard for {found} to the source in sources.yaml, or exclude it there.",
            )
    gone = database.listings.record_gone_outside_shards(source, as_of=as_of, run_id=context.run.run_id)
    return ListingDiff(deleted=gone, complete=True)


def plan_source(source: Source, *, blob_stores: BlobStores, database: Database) -> SourcePlan:
    """What ingest_rasters would find and do now. Writes nothing but the source's own rule.

    Raises what the store or the ledger raises.
    """
    database.sources.register(source)
    new = changed = unchanged = size_bytes = 0
    complete = True
    with blob_stores.open(source) as store, database.listings.open_comparison(source.name) as compare:
        for shard in source.shards or ("",):
            listing = SourceListing(source, store.list_pages(source.prefix + shard))
            for page in listing:
                found = compare(page.blobs)
                new, changed = new + found.new, changed + found.changed
                unchanged, size_bytes = unchanged + found.unchanged, size_bytes + found.size_bytes
            complete = complete and listing.complete
    left = database.blobs.outstanding(source.name)
    return SourcePlan(
        source=source.name,
        new=new,
        changed=changed,
        deleted=max(0, left.live - changed - unchanged) if complete else None,
        unchanged=unchanged,
        pending=left.pending,
        size_bytes=size_bytes + left.size_bytes,
    )
