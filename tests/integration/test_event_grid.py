"""The Event Grid stand-in on Azurite: what it tells of a container, and of a folder it mirrors."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from tests.peers.blob_events import BlobChange, make_event
from tests.peers.event_grid import Delivery, EventGrid, MirroredFolder, StorageQueueSubscriber
from tests.services import Azurite

ODD_NAME = "a b/100%2F#ü?.tif"


@pytest.fixture
def grid(azurite: Azurite, container: ContainerClient, event_queue: QueueClient) -> EventGrid:
    """Watches the container for the queue, and has seen it empty."""
    grid = EventGrid(container, azurite.account_url, [StorageQueueSubscriber(event_queue)])
    grid.look()
    return grid


def received(queue: QueueClient) -> list[dict[str, Any]]:
    """The events in the queue, which is then empty."""
    messages = list(queue.receive_messages(max_messages=32))
    for message in messages:
        queue.delete_message(message)
    return [json.loads(base64.b64decode(message.content, validate=True)) for message in messages]


def name_in(event: dict[str, Any], container: ContainerClient) -> str:
    path = urlsplit(event["data"]["url"]).path
    return unquote(path).split(f"/{container.container_name}/", 1)[1]


def test_a_blob_that_comes_changes_and_goes_is_told_of_each_time_with_its_version(
    grid: EventGrid, container: ContainerClient, event_queue: QueueClient
) -> None:
    told = []
    for content in (b"one", b"three"):
        etag = container.upload_blob(ODD_NAME, content, overwrite=True).get_blob_properties().etag
        grid.look()
        (event,) = received(event_queue)
        assert (event["eventType"], event["data"]["eTag"]) == ("Microsoft.Storage.BlobCreated", etag.strip('"'))
        assert event["data"]["contentLength"] == len(content)
        told.append(event)
    container.delete_blob(ODD_NAME)
    grid.look()
    (event,) = received(event_queue)
    assert event["eventType"] == "Microsoft.Storage.BlobDeleted"
    told.append(event)
    grid.look()
    assert received(event_queue) == []
    assert {name_in(event, container) for event in told} == {ODD_NAME}
    sequencers = [event["data"]["sequencer"] for event in told]
    assert sequencers == sorted(set(sequencers))


def test_a_queue_that_was_away_is_told_later(
    grid: EventGrid, container: ContainerClient, event_queue: QueueClient, queue_service: Azurite
) -> None:
    name = f"{event_queue.queue_name}-later"
    with QueueClient.from_connection_string(queue_service.connection_string, name) as later:
        grid = EventGrid(container, grid.account_url, [StorageQueueSubscriber(later)])
        for blob in ("first.tif", "second.tif"):
            grid.look()
            container.upload_blob(blob, b"1")
        grid.look()
        later.create_queue()
        grid.look()
        assert {name_in(event, container) for event in received(later)} == {"first.tif", "second.tif"}


def test_a_folder_is_mirrored_once_its_files_rest_and_only_what_came_of_it_goes_with_it(
    container: ContainerClient, tmp_path: Path
) -> None:
    def blobs() -> dict[str, bytes]:
        names = list(container.list_blob_names())
        return {name: container.download_blob(name).readall() for name in names}

    container.upload_blob("theirs.tif", b"stays")
    mirror = MirroredFolder(tmp_path, container)
    file = tmp_path / "sub" / "ours.tif"
    file.parent.mkdir()
    file.write_bytes(b"half")
    mirror.look()
    file.write_bytes(b"half and half")
    mirror.look()
    assert blobs() == {"theirs.tif": b"stays"}, "a file that grew was taken for whole"
    mirror.look()
    assert blobs() == {"theirs.tif": b"stays", "sub/ours.tif": b"half and half"}

    etag = container.get_blob_client("sub/ours.tif").get_blob_properties().etag
    again = MirroredFolder(tmp_path, container)
    again.look()
    again.look()
    assert container.get_blob_client("sub/ours.tif").get_blob_properties().etag == etag, "uploaded anew by a restart"
    file.unlink()
    MirroredFolder(tmp_path, container).look()
    assert blobs() == {"theirs.tif": b"stays"}


def test_delivery_copies_reorders_and_loses() -> None:
    events = [make_event(BlobChange("created", f"{number}.tif"), container="c") for number in range(100)]
    ids = [event["id"] for event in events]
    twice = [event["id"] for event in Delivery(copies=2, reordered=True).of(events)]
    assert sorted(twice) == sorted(ids * 2)
    assert twice != sorted(twice, key=ids.index)
    assert 20 < len(Delivery(lost=0.5).of(events)) < 80
    assert Delivery().of(events) == events
