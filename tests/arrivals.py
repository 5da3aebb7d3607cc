"""A container whose changes a queue tells of, and what takes them into the ledger: for tests of events.

Here: what several tests of events share. Not here: the messages (`tests.event_messages`).
"""

from dataclasses import dataclass
from datetime import timedelta

from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from geo_assets.events.message_queue import MessageQueue
from geo_assets.events.observer import EventObserver, TakenBatch
from geo_assets.ledger.listings import ListingDiff
from geo_assets.models import Message
from geo_assets.resources.database import Database
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.rules import QueueRule
from geo_assets.sources.source import Source
from geo_assets.storage.listing import SourceListing, timed_pages
from tests.event_messages import blob_event


@dataclass
class Arrivals:
    """A container, a queue that tells of it, and the observer that takes the one into the ledger by the other."""

    container: ContainerClient
    sender: QueueClient
    queue: MessageQueue
    rule: QueueRule
    sources: dict[str, Source]
    database: Database

    @property
    def observer(self) -> EventObserver:
        return EventObserver(
            self.queue, self.rule, sources=self.sources, blob_stores=BlobStores(), connections=self.database.connections
        )

    def put(self, name: str, content: bytes = b"x") -> bytes:
        """Write a blob; the event that tells so."""
        answer = self.container.upload_blob(name, content, overwrite=True).get_blob_properties()
        return self.event("Created", name, eTag=answer.etag, clientRequestId=f"upload of {name}")

    def delete(self, name: str) -> bytes:
        """Delete a blob; the event that tells so."""
        self.container.delete_blob(name)
        return self.event("Deleted", name)

    def event(self, kind: str, name: str, **data: object) -> bytes:
        return blob_event(kind, str(self.container.url), name, **data)

    def messages(self, *bodies: bytes) -> list[Message]:
        """The bodies through the queue."""
        for body in bodies:
            self.sender.send_message(body.decode())
        return self.queue.receive(len(bodies), wait=timedelta(seconds=5))

    def take(self, *bodies: bytes) -> TakenBatch:
        return self.observer.take(self.messages(*bodies))

    def listed(self) -> list[ListingDiff]:
        """List every source into the ledger."""
        return [list_into(self.database, source) for source in self.sources.values()]

    def rows(self, columns: str = "name, deleted_at IS NOT NULL AS gone") -> list[dict[str, object]]:
        with self.database.connections.connect() as connection:
            return connection.execute(f"SELECT {columns} FROM ledger.blob ORDER BY source, name").fetchall()

    def batches(self) -> list[dict[str, object]]:
        with self.database.connections.connect() as connection:
            return connection.execute("SELECT * FROM ledger.received_batch ORDER BY id").fetchall()


def list_into(database: Database, source: Source) -> ListingDiff:
    """List a source into the ledger as the asset does."""
    with (
        BlobStores().open(source) as store,
        database.listings.open_listing(source, run_id="run") as writer,
        database.open_clock() as now,
    ):
        listing = SourceListing(source, timed_pages(store.list_pages(source.prefix), now))
        for page in listing:
            writer.add_page(page)
        return writer.finish(complete=listing.complete)


def source_in(container: str, name: str = "rasters", **keys: object) -> Source:
    collection = {"id": name, "description": "d"}
    return Source.model_validate({"name": name, "url": f"az://{container}", "collection": collection, **keys})


def assert_is_what_the_container_holds(arrivals: Arrivals) -> None:
    """A listing afterwards finds nothing to do, and nothing is left in the queue."""
    for diff in arrivals.listed():
        assert (diff.new, diff.changed, diff.deleted) == (0, 0, 0)
    assert arrivals.queue.receive(10, wait=timedelta(0)) == []
