"""A dry run: list a source against the ledger, say what a run would do, and do none of it."""

from geo_assets.assets.plan import SourcePlan
from geo_assets.resources.database import Database
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.source import Source
from geo_assets.storage.listing import SourceListing


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
