"""An Event Grid for Azurite, which has none: it watches a container and tells its changes to queues.

Here: a container's changes by its listing, sent to any number of Storage Queues and Service Bus queues; and a folder
mirrored into a container. Changes between two looks are one change, and what happened before the first look is never
told, as with a new subscription of Event Grid. Not here: what an event says (`blob_events`).
"""

import logging
import mimetypes
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Signal
from typing import Protocol

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage, ServiceBusSender
from azure.servicebus.exceptions import ServiceBusError
from azure.storage.blob import BlobProperties, ContainerClient, ContentSettings
from azure.storage.queue import QueueClient

from tests.peers.blob_events import (
    BlobChange,
    Event,
    as_cloud_event,
    make_event,
    service_bus_body,
    storage_queue_text,
)

LOOK_SECONDS = 0.3
# About 100 KB of the 256 KB that a batch of Service Bus's standard tier may have.
_MOST_A_BATCH = 100
_PARTIAL_SUFFIXES = (".part", ".partial", ".tmp", ".swp", "~")
_log = logging.getLogger(__name__)


class Subscriber(Protocol):
    """Where events go."""

    def send(self, events: Sequence[Event]) -> None:
        """Send all of them, or raise; those that went out already may go again."""
        ...


@dataclass(frozen=True)
class StorageQueueSubscriber:
    """A Storage Queue, in the schema of Event Grid and base64."""

    queue: QueueClient

    def send(self, events: Sequence[Event]) -> None:
        """Send all of them, some at once: the service takes one a request."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            for _ in pool.map(self.queue.send_message, map(storage_queue_text, events)):
                pass


@dataclass(frozen=True)
class ServiceBusSubscriber:
    """A queue or topic of Service Bus, in the schema of CloudEvents."""

    sender: ServiceBusSender

    def send(self, events: Sequence[Event]) -> None:
        """Send all of them in batches."""
        for start in range(0, len(events), _MOST_A_BATCH):
            self.sender.send_messages([self._message(event) for event in events[start : start + _MOST_A_BATCH]])

    @staticmethod
    def _message(event: Event) -> ServiceBusMessage:
        cloud_event = as_cloud_event(event)
        return ServiceBusMessage(
            service_bus_body(cloud_event),
            content_type="application/cloudevents+json; charset=utf-8",
            message_id=str(event["id"]),
            application_properties={"aeg-event-type": "Notification", "aeg-delivery-count": "0"},
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """How badly events are delivered: each so many times, in another order, and some (a share of 0 to 1) never."""

    copies: int = 1
    reordered: bool = False
    lost: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def of(self, events: Sequence[Event]) -> list[Event]:
        """The events that arrive, in their order."""
        arriving = [event for event in events if self.chance.random() >= self.lost for _ in range(self.copies)]
        if self.reordered:
            self.chance.shuffle(arriving)
        return arriving


@dataclass
class EventGrid:
    """The changes of one container, told to its subscribers at each look."""

    container: ContainerClient
    account_url: str
    subscribers: Sequence[Subscriber]
    delivery: Delivery = field(default_factory=Delivery)
    _known: dict[str, str] | None = field(default=None, init=False)
    _undelivered: list[list[Event]] = field(init=False)

    def __post_init__(self) -> None:
        self._undelivered = [[] for _ in self.subscribers]

    def look(self) -> list[Event]:
        """List the container and tell what changed since the last look; the events, whether or not they were lost.

        A subscriber that cannot be reached gets them at a later look. Raises AzureError where the listing fails.
        """
        seen = {blob.name: blob for blob in self.container.list_blobs()}
        events = [self._event(change) for change in self._changes(seen)]
        self._known = {name: str(blob.etag) for name, blob in seen.items()}
        for subscriber, undelivered in zip(self.subscribers, self._undelivered, strict=True):
            undelivered += self.delivery.of(events)
            try:
                if undelivered:
                    subscriber.send(undelivered)
            except (AzureError, ServiceBusError) as error:
                _log.warning("%d events wait for %s: %s", len(undelivered), subscriber, error)
            else:
                undelivered.clear()
        return events

    def _event(self, change: BlobChange) -> Event:
        return make_event(change, container=str(self.container.container_name), account_url=self.account_url)

    def _changes(self, seen: Mapping[str, BlobProperties]) -> Iterator[BlobChange]:
        if self._known is None:
            return
        for name in self._known.keys() - seen.keys():
            yield BlobChange("deleted", name)
        for name, blob in seen.items():
            if self._known.get(name) != blob.etag:
                kind = str(blob.content_settings.content_type)
                yield BlobChange("created", name, str(blob.etag).strip('"'), int(blob.size), kind, blob.last_modified)


@dataclass
class MirroredFolder:
    """A folder whose files are put into a container: a blob of it goes with its file, other blobs stay."""

    folder: Path
    container: ContainerClient
    _growing: dict[str, str] = field(default_factory=dict, init=False)
    _mirrored: dict[str, str] | None = field(default=None, init=False)

    def look(self) -> None:
        """Upload the files that are new or changed and were as they are at the last look too; delete what is gone.

        Raises AzureError where the container does not take it; the next look tries again.
        """
        if self._mirrored is None:
            self._mirrored = dict(self._stored())
        files = dict(self._files())
        for name, state in files.items():
            if self._mirrored.get(name) != state and self._growing.get(name) == state:
                self._upload(name, state)
                self._mirrored[name] = state
        for name in self._mirrored.keys() - files.keys():
            self.container.delete_blobs(name)
            del self._mirrored[name]
        self._growing = files

    def _upload(self, name: str, state: str) -> None:
        kind = ContentSettings(content_type=mimetypes.guess_type(name)[0] or "application/octet-stream")
        with (self.folder / name).open("rb") as file:
            self.container.upload_blob(name, file, overwrite=True, metadata={"mirrored": state}, content_settings=kind)

    def _stored(self) -> Iterator[tuple[str, str]]:
        """What an earlier mirror left, and the state of each file it was made of."""
        for blob in self.container.list_blobs(include=["metadata"]):
            if blob.metadata and "mirrored" in blob.metadata:
                yield str(blob.name), str(blob.metadata["mirrored"])

    def _files(self) -> Iterator[tuple[str, str]]:
        """Every file's path below the folder, with what changes when it is written."""
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if any(part.startswith(".") for part in Path(name).parts) or name.endswith(_PARTIAL_SUFFIXES):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                yield name, f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"


def watch(grid: EventGrid, mirror: MirroredFolder | None, *, until: Signal, seconds: float = LOOK_SECONDS) -> None:
    """Look again and again until the signal: first at what is in the container, then at the folder."""
    while True:
        try:
            grid.look()
            if mirror is not None:
                mirror.look()
        except (AzureError, OSError) as error:
            _log.warning("a look failed; the next tries again: %s", error)
        if until.wait(seconds):
            return
