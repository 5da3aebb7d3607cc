"""Messages that say nothing, or nothing true, among good ones: each costs itself only, and none is forgotten."""

import base64
import json
from collections import Counter
from typing import Any

import pytest

from geo_assets.models import Channel
from tests.faults.conftest import OpenWorld
from tests.faults.event_world import EventWorld
from tests.faults.fault_record import fault
from tests.faults.ticking import ticking
from tests.peers.blob_events import BlobChange, Event, as_cloud_event, make_event

GROUP = "messages that cannot be read, or are of nothing"
GOOD = [f"good/2024{1 + number % 12:02d}01_{number}.tif" for number in range(20)]


def without(event: Event, *keys: str) -> Event:
    return {key: value for key, value in event.items() if key not in keys}


def malformed(world: EventWorld) -> list[bytes]:
    """Each is no event: it becomes a dead letter."""
    event = make_event(
        BlobChange("created", "a.tif"),
        container=str(world.container.container_name),
        account_url=world.azurite.account_url,
    )
    cloud, text = as_cloud_event(event), json.dumps(event)

    def at(url: Any) -> Event:
        return {**event, "data": {**event["data"], "url": url}}

    container = f"{world.azurite.account_url}/{world.container.container_name}"
    documents: list[Any] = [
        [],
        [[event]],
        [event, None],
        [event, 7],
        {},
        without(event, "eventType"),
        without(event, "eventTime"),
        without(event, "data"),
        without(event, "id"),
        {**event, "data": "text"},
        {**event, "eventType": 7},
        {**event, "eventTime": "yesterday"},
        {**event, "eventTime": "2024-05-06T07:08:09"},
        {**event, "data": {**event["data"], "sequencer": 12}},
        {**event, "data": {**event["data"], "eTag": {}}},
        {**without(cloud, "type"), "eventType": event["eventType"]},
        {**cloud, "specversion": "0.3"},
        {**cloud, "time": 1715000000},
        at(None),
        at("a.tif"),
        at("file:///etc/passwd"),
        at(container),
        at(f"{container}/../other/a.tif"),
        at(f"{container}/..%2Fother/a.tif"),
        at(f"{container}/%ff.tif"),
        at(f"{container}/a%00.tif"),
        at(f"{container}/{'x' * 1025}"),
    ]
    raw = [
        b"no event at all",
        b"%%%%",
        text[:-9].encode(),
        base64.b64encode(text.encode())[:-21],
        base64.b64encode(base64.b64encode(text.encode())),
        base64.b64encode(b"\xff\xfe"),
        b'"a string"',
        b"null",
        b"<QueueMessage/>",
        b"[" * 20_000,
        b"x" * 45_000,
    ]
    return [json.dumps(document).encode() for document in documents] + raw


def of_nothing(world: EventWorld) -> list[Event]:
    """Each is an event of nothing that the source has: it is counted by its reason, or ends in nothing."""
    container, account_url = str(world.container.container_name), world.azurite.account_url
    change = BlobChange("created", "never/20240101_there.tif")
    event = make_event(change, container=container, account_url=account_url)
    return [
        make_event(change, container="elsewhere", account_url=account_url),
        make_event(change, container=container, account_url="https://stranger.blob.core.windows.net"),
        make_event(change, container=container, account_url=account_url, api="SomethingNew"),
        {**event, "eventType": "Microsoft.Storage.BlobTierChanged"},
        {**event, "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"},
        {**event, "data": without(event["data"], "eTag", "sequencer", "contentLength")},
        event,
        make_event(BlobChange("deleted", "never/there.tif"), container=container, account_url=account_url),
        make_event(BlobChange("created", "notes.txt"), container=container, account_url=account_url),
        make_event(BlobChange("created", "a/é #1?%2F.tif"), container=container, account_url=account_url),
    ]


@pytest.mark.parametrize("path", ["storage_queue", "service_bus"])
def test_each_costs_itself_only(open_world: OpenWorld, path: Channel) -> None:
    world = open_world([path])
    bad, strange = malformed(world), of_nothing(world)
    with ticking(world) as loop:
        name = f"{len(bad)} kinds of malformed message and {len(strange)} of nothing among {len(GOOD)} good ones"
        with fault(GROUP, f"{name} ({path.replace('_', ' ')})") as run:
            good = world.put_silently(*GOOD, "good/é #1?%2F 20240101_.tif")
            world.send(*bad, *strange, *good)
            run.over()
            loop.converge()
            run.judged(world.judge(), blobs=len(world.blobs))
    records = world.pipeline.query(
        "SELECT body_start, error_code, length(error_message) > 8, state FROM ledger.message ORDER BY id"
    )
    assert Counter(record[0] for record in records) == Counter(body.decode()[:1000] for body in bad)
    assert {record[1:] for record in records} == {("malformed_message", True, "dead_letter")}
    ((received, poisoned),) = world.pipeline.query("SELECT sum(messages), sum(poisoned) FROM ledger.received_batch")
    assert (received, poisoned) == (len(bad) + len(strange) + len(good), len(bad))
