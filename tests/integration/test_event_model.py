"""Any sequence of changes, events, duplicates, losses and listings: the ledger ends as the container is."""

import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from azure.storage.blob import ContainerClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from geo_assets.events.message_queue import DeadLetter
from geo_assets.events.observer import EventObserver
from geo_assets.models import BlobPage, Channel, Message
from geo_assets.resources.database import Database
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.rules import QueueRule
from geo_assets.sources.source import Source
from geo_assets.storage import azure_blob_store
from geo_assets.storage.listing import SourceListing, timed_pages
from tests.event_messages import blob_event
from tests.services import Azurite

NUMBERS = itertools.count(1)
NAMES = st.sampled_from(["a.png", "a.pgw", "x/b.tif"])


class Line:
    """Messages in the order that the machine chooses; what is settled here is known to the machine already."""

    path: Channel = "service_bus"
    name = "model"

    def receive(self, most: int, *, wait: timedelta) -> list[Message]:  # noqa: ARG002
        return []

    def complete(self, messages: Sequence[Message]) -> list[Message]:
        assert messages
        return []

    def abandon(self, message: Message) -> None:
        raise AssertionError(f"{message} was abandoned, though all services are up")

    def dead_letter(self, message: Message, *, reason: str, description: str) -> str:
        raise AssertionError(f"{message} is a dead letter for {reason}: {description}")

    def depth(self) -> int | None:
        return None

    def dead_letters(self, most: int) -> list[DeadLetter]:  # noqa: ARG002
        return []

    def replay(self, message_id: str, *, rewrite: Callable[[bytes], bytes] = bytes) -> bool:  # noqa: ARG002
        return False

    def drop(self, message_id: str) -> bool:  # noqa: ARG002
        return False


class EventMachine(RuleBasedStateMachine):
    """A real container and the real ledger; between them messages on their way, and pages on theirs."""

    def __init__(self, container: ContainerClient, database: Database) -> None:
        super().__init__()
        self.container, self.database = container, database
        number = next(NUMBERS)
        self.prefix = f"model_{number}"
        self.source = Source.model_validate(
            {
                "name": self.prefix,
                "url": f"az://{container.container_name}/{self.prefix}",
                "include": ["**/*.png", "**/*.tif"],
                "collection": {"id": self.prefix, "description": "d"},
            }
        )
        database.sources.register(self.source)
        self.observer = EventObserver(
            Line(),
            QueueRule(name="model", service_bus="model"),
            sources={self.source.name: self.source},
            blob_stores=BlobStores(),
            connections=database.connections,
        )
        self.there: set[str] = set()
        self.on_the_way: list[Message] = []
        self.pages: list[BlobPage] = []
        self.lost = False

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        """Create or overwrite a blob."""
        answer = self.container.upload_blob(f"{self.prefix}/{name}", b"x", overwrite=True).get_blob_properties()
        self.there.add(name)
        self._tell("Created", name, eTag=answer.etag)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete a blob."""
        name = data.draw(st.sampled_from(sorted(self.there)))
        self.container.delete_blob(f"{self.prefix}/{name}")
        self.there.remove(name)
        self._tell("Deleted", name)

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data(), again=st.booleans())
    def deliver(self, data: st.DataObject, again: bool) -> None:
        """Some of the messages arrive, in any order; they may come once more."""
        count = data.draw(st.one_of(st.just(len(self.on_the_way)), st.integers(1, len(self.on_the_way))))
        arriving = data.draw(st.permutations(self.on_the_way))[:count]
        if not again:
            self.on_the_way = [message for message in self.on_the_way if message not in arriving]
        self.observer.take(arriving)

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A message never arrives."""
        self.on_the_way.remove(data.draw(st.sampled_from(self.on_the_way)))
        self.lost = True

    @rule()
    def fetch(self) -> None:
        """A listing asks for its pages; what becomes of them comes later."""
        self.pages = self._fetched()

    @precondition(lambda self: self.pages)
    @rule()
    def merge(self) -> None:
        """Pages that were asked for a while ago come into the ledger."""
        with self.database.listings.open_listing(self.source, run_id=None) as writer:
            for page in self.pages:
                writer.add_page(page)
            writer.finish(complete=False)
        self.pages = []

    @rule(data=st.data(), name=NAMES)
    def overtake(self, data: st.DataObject, name: str) -> None:
        """A page is asked for, a blob changes and its event is taken, and only then the page comes in."""
        self.fetch()
        if name in self.there and data.draw(st.booleans()):
            self.container.delete_blob(f"{self.prefix}/{name}")
            self.there.remove(name)
            self._tell("Deleted", name)
        else:
            self.put(name)
        self.observer.take([self.on_the_way.pop()])
        if self.pages:
            self.merge()

    def teardown(self) -> None:
        """All messages that were not lost arrive; where one was, a listing repairs what it told."""
        if self.on_the_way:
            self.observer.take(self.on_the_way)
        if not self.lost:
            assert self._known() == {blob.name: blob.etag for page in self._fetched() for blob in page}
        with self.database.listings.open_listing(self.source, run_id=None) as writer:
            pages = self._fetched()
            for page in pages:
                writer.add_page(page)
            diff = writer.finish(complete=True)
        assert self._known() == {blob.name: blob.etag for page in pages for blob in page}
        assert self.lost or (diff.new, diff.changed, diff.deleted) == (0, 0, 0)

    def _tell(self, kind: str, name: str, **data: object) -> None:
        body = blob_event(kind, str(self.container.url), f"{self.prefix}/{name}", **data)
        self.on_the_way.append(Message(body, f"message-{next(NUMBERS)}", 1, None, None, None))

    def _fetched(self) -> list[BlobPage]:
        with BlobStores().open(self.source) as store:
            return list(
                SourceListing(self.source, timed_pages(store.list_pages(self.source.prefix), self.database.now))
            )

    def _known(self) -> dict[str, str]:
        with self.database.connections.connect() as connection:
            rows = connection.execute(
                "SELECT name, etag FROM ledger.blob WHERE source = %s AND deleted_at IS NULL", (self.source.name,)
            ).fetchall()
        return {row["name"]: row["etag"] for row in rows}


def test_the_ledger_ends_as_the_container_is(
    container: ContainerClient, azurite: Azurite, catalogue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a listing where no message was lost; with one in any case."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", 2)
    database = Database(database_url=catalogue)
    run_state_machine_as_test(
        lambda: EventMachine(container, database),  # type: ignore[arg-type]
        settings=settings(
            max_examples=12,
            stateful_step_count=12,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
