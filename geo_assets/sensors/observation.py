"""What a look at a source shows against the ledger: as much of it as fits into a tick, the rest in the next.

Here: listing and comparing, which writes nothing. Not here: what follows from it (`geo_assets.sensors.change`), whose
turn it is (`side_by_side`) and Dagster (`blob`).
"""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from geo_assets.ledger.blobs import Outstanding
from geo_assets.models import BlobPage
from geo_assets.resources.database import Database
from geo_assets.resources.stores import BlobStores
from geo_assets.sensors.change import Observation, Progress, change_digest
from geo_assets.sensors.side_by_side import LookClock
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import SHORT_PATIENCE, BlobStore, reading_ahead
from geo_assets.storage.listing import SourceListing
from geo_assets.storage.related_blobs import page_marker


def observe(
    source: Source,
    progress: Progress | None,
    left: Outstanding,
    pace: LookClock,
    *,
    blob_stores: BlobStores,
    database: Database,
) -> tuple[Observation, Progress | None]:
    """What is seen of ``source`` from ``progress`` on, and where to go on if that was not all.

    The look ends with the first page that shows something new or changed, which is enough to launch a run; at
    the deadline of its ``pace``, but not before one page; or with the source. Only then is the number of deleted blobs
    known. ``left`` is what the ledger knows. No connection to the database is held while the store is waited for.
    Raises what the store or the ledger raises.
    """
    look = _Look(source, progress, generation=left.generation)
    new = changed = digest = 0
    with blob_stores.open(source, patience=SHORT_PATIENCE) as store, closing(look.pages(store)) as pages:
        for page in pages:
            pace.show()
            with database.listings.open_comparison(source.name) as compare:
                found = compare(page.blobs)
            new, changed, digest = new + found.new, changed + found.changed, digest + found.digest
            look.unchanged += found.unchanged
            if look.goes_on_after(page) and (new or changed or time.monotonic() > pace.deadline):
                break
    deleted = max(0, left.live - changed - look.unchanged) if look.complete else None
    observed = replace(
        recall(left), new=new, changed=changed, deleted=deleted, digest=change_digest(digest, deleted or 0, left.digest)
    )
    return observed, None if new or changed else look.progress


def recall(left: Outstanding) -> Observation:
    """What the ledger alone knows to be left to do for a source, between two checks of it."""
    return Observation(
        new=0,
        changed=0,
        deleted=None,
        pending=left.pending,
        to_withdraw=left.to_withdraw,
        digest=change_digest(0, 0, left.digest),
        generation=left.generation,
        held=left.held,
    )


class _Look:
    """The pages of a source, shard by shard: from ``progress`` on while no listing came between, else from the start.

    ``unchanged`` counts the blobs seen so far, in earlier ticks too; ``progress`` is where to go on, None at the end.
    """

    def __init__(self, source: Source, progress: Progress | None, *, generation: int) -> None:
        shards = source.shards or ("",)
        if progress is None or progress.generation != generation or progress.shard not in shards:
            progress = Progress(shard=shards[0], marker=None, unchanged=0, generation=generation)
        self._source = source
        self._generation = generation
        self._marker = progress.marker
        self._shards = list(shards[shards.index(progress.shard) :])
        self.unchanged = progress.unchanged
        self.progress: Progress | None = None
        self.complete = False

    def pages(self, store: BlobStore) -> Generator[BlobPage]:
        """What is left to see; ``complete`` where that was all of the source."""
        while self._shards:
            fetched = store.list_pages(self._source.prefix + self._shards[0], marker=page_marker(self._marker))
            with reading_ahead(fetched) as pages:
                listing = SourceListing(self._source, pages, listed=self.unchanged, marker=self._marker)
                yield from listing
            if not listing.complete:
                return
            self._marker = None
            del self._shards[0]
        self.complete = True

    def goes_on_after(self, page: BlobPage) -> bool:
        """Whether there is more to see after ``page``; ``progress`` is then where."""
        shard = self._shards[0] if page.next_marker is not None else next(iter(self._shards[1:]), None)
        self.progress = None
        if shard is not None:
            self.progress = Progress(shard, page.next_marker, self.unchanged, self._generation)
        return self.progress is not None
