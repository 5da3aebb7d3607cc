"""The sensors of queues over real parts: Azurite, the Service Bus peer, a ledger; ticked as the daemon does it."""

import base64
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from dagster import DagsterRunStatus, DefaultSensorStatus, RunRequest

from geo_assets.definitions import build_definitions
from geo_assets.sensors import blob as blob_sensor
from geo_assets.sensors import change, queues, receiving, runs
from geo_assets.sensors.blob import observe
from geo_assets.storage import azure_blob_store, container_look
from tests.daemon import Daemon, a_run
from tests.peers.service_bus import ServiceBusPeer
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import raster_bytes
from tests.services import AZURITE_ACCOUNT, Azurite, free_port
from tests.unit.core.formats.zarr_files import write_cube

pytestmark = pytest.mark.usefixtures("short_ticks")

KINDS = ("storage_queue", "service_bus")
BUS_QUEUE = "blob-events"


@pytest.fixture(scope="module")
def bus() -> Iterator[ServiceBusPeer]:
    with ServiceBusPeer(BUS_QUEUE) as peer:
        yield peer


@dataclass
class World:
    """A container that is the source, one queue of events of it, and the sensor that watches the queue."""

    pipeline: Pipeline
    container: ContainerClient
    kind: str
    queue: QueueClient
    bus: ServiceBusPeer | None
    uploaded: dict[str, str] = field(default_factory=dict)

    @property
    def daemon(self) -> Daemon:
        return Daemon(self.pipeline, f"{self.kind}_sensor")

    @property
    def waiting(self) -> int:
        """How many messages lie in the queue, locked ones too."""
        if self.bus is not None:
            return self.bus.messages(BUS_QUEUE)
        return self.queue.get_queue_properties().approximate_message_count or 0

    def declare_queue(self, name: str = "arrivals", **keys: Any) -> None:
        queue = BUS_QUEUE if self.bus else self.queue.queue_name
        self.pipeline.declare_queue(name, **{self.kind: queue, **keys})

    def send(self, *messages: str) -> None:
        if self.bus is None:
            for message in messages:
                self.queue.send_message(message)
            return
        with (
            ServiceBusClient.from_connection_string(self.bus.connection_string) as client,
            client.get_queue_sender(BUS_QUEUE) as sender,
        ):
            for start in range(0, len(messages), 50):
                sender.send_messages([ServiceBusMessage(message) for message in messages[start : start + 50]])

    def upload(self, *names: str) -> list[str]:
        """Put rasters into the container; the events that say so."""
        content = raster_bytes(value=1)
        etags = [self.container.upload_blob(name, content, overwrite=True).get_blob_properties().etag for name in names]
        return [self.event(name, etag=str(etag)) for name, etag in zip(names, etags, strict=True)]

    def delete(self, *names: str) -> list[str]:
        """Delete blobs; the events that say so."""
        for name in names:
            self.container.delete_blob(name)
        return [self.event(name, deleted=True) for name in names]

    def event(self, name: str, *, etag: str | None = None, deleted: bool = False) -> str:
        """An event of Event Grid's schema; its correlation id is of the name."""
        event = {
            "id": str(uuid.uuid4()),
            "topic": f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{AZURITE_ACCOUNT}",
            "subject": f"/blobServices/default/containers/{self.container.container_name}/blobs/{name}",
            "eventType": f"Microsoft.Storage.Blob{'Deleted' if deleted else 'Created'}",
            "eventTime": datetime.now(UTC).isoformat(),
            "data": {
                "api": "DeleteBlob" if deleted else "PutBlob",
                "clientRequestId": f"request-{name}",
                "url": f"{self.container.url}/{name}",
                **({"eTag": etag} if etag else {}),
            },
            "dataVersion": "",
            "metadataVersion": "1",
        }
        text = json.dumps(event)
        return text if self.bus else base64.b64encode(text.encode()).decode()


@pytest.fixture(params=KINDS)
def world(
    request: pytest.FixtureRequest,
    pipeline: Pipeline,
    container: ContainerClient,
    event_queue: QueueClient,
    queue_service: Azurite,
    bus: ServiceBusPeer,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", queue_service.connection_string)
    monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", bus.connection_string)
    pipeline.declare(f"az://{container.container_name}")
    world = World(pipeline, container, request.param, event_queue, bus if request.param == "service_bus" else None)
    world.declare_queue()
    return world


on_storage_queue = pytest.mark.parametrize("world", ["storage_queue"], indirect=True)
on_service_bus = pytest.mark.parametrize("world", ["service_bus"], indirect=True)


def requests(daemon: Daemon) -> dict[str, RunRequest]:
    """What one tick asks for, by source."""
    return {str(request.partition_key): request for request in daemon.tick().run_requests or []}


def skipped(daemon: Daemon) -> str:
    """Why one tick asks for nothing."""
    data = daemon.tick()
    assert not data.run_requests
    return str(data.skip_message)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sensors_are_there_and_say_that_they_are_off_where_no_queue_is_declared(
    pipeline: Pipeline, kind: str
) -> None:
    sensor = build_definitions().resolve_sensor_def(f"{kind}_sensor")
    assert sensor.default_status == DefaultSensorStatus.RUNNING
    assert [target.job_name for target in sensor.targets] == ["ingest_observed", "ingest_rasters", "load_vectors"]
    pipeline.declare("az://bronze")
    assert skipped(Daemon(pipeline, f"{kind}_sensor")) == f"off: no queue in sources.yaml has {kind}"


def test_an_event_becomes_an_item_and_a_deletion_takes_it_away(world: World) -> None:
    daemon = world.daemon
    world.send(*world.upload("a.tif", "b.tif"))
    request = requests(daemon)[SOURCE]
    assert request.tags["geo_assets/path"] == world.kind
    assert request.tags["geo_assets/correlation_id"] == "request-a.tif,request-b.tif"
    assert world.pipeline.run("ingest_observed").success
    correlated = {
        blob: item["properties"]["geo_assets:correlation_id"] for blob, item in world.pipeline.items().items()
    }
    assert correlated == {"a.tif": "request-a.tif", "b.tif": "request-b.tif"}

    world.send(*world.delete("a.tif"))
    assert requests(daemon)[SOURCE].run_key != request.run_key
    assert world.pipeline.run("ingest_observed").success
    assert set(world.pipeline.items()) == {"b.tif"}
    world.pipeline.check_promise()
    assert "nothing to do" in skipped(daemon)
    assert world.waiting == 0


@on_storage_queue
def test_a_store_too_large_for_a_look_gets_a_listing_after_what_is_known(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_look, "MOST_PAGES", 2)
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", 3)
    world.pipeline.declare(f"az://{world.container.container_name}", include=["**/*.tif", "**/*.zarr"])
    store = write_cube(tmp_path / "cube.zarr", zarr_format=3)
    for path in store.rglob("*"):
        if path.is_file():
            world.container.upload_blob(str(path.relative_to(tmp_path)), path.read_bytes())
    daemon = world.daemon
    world.send(world.event("cube.zarr/zarr.json"), *world.upload("a.tif"))
    first = requests(daemon)[SOURCE]
    assert first.job_name == "ingest_observed"
    assert world.waiting == 0
    assert world.pipeline.run("ingest_observed").success
    assert set(world.pipeline.items()) == {"a.tif"}
    second = requests(daemon)[SOURCE]
    assert (second.job_name, second.partition_key) == ("ingest_rasters", SOURCE)
    assert "a listing is needed; a run was requested already" in skipped(daemon)
    assert world.pipeline.run("ingest_rasters").success
    assert set(world.pipeline.items()) == {"a.tif", "cube.zarr/zarr.json"}
    assert "nothing to do" in skipped(daemon)


@on_service_bus
def test_a_burst_is_one_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "TICK_SECONDS", 60.0)
    monkeypatch.setattr(queues, "GATHER_SECONDS", 60.0)
    names = [f"scene_{number:03}.tif" for number in range(300)]
    world.send(*world.upload(*names))
    (request,) = requests(world.daemon).values()
    assert world.waiting == 0
    assert world.pipeline.status().pending == 300
    assert request.tags["geo_assets/correlation_id"].count(",") == 9


def test_one_bad_message_of_a_hundred_leaves_ninety_nine(world: World) -> None:
    messages = world.upload(*[f"scene_{number:02}.tif" for number in range(99)])
    world.send(*messages[:50], "no event at all", *messages[50:])
    daemon = world.daemon
    while world.waiting:
        daemon.tick()
    assert world.pipeline.status().pending == 99
    found = world.pipeline.query("SELECT path, error_code, body_start, state FROM ledger.message")
    assert found == [(world.kind, "malformed_message", "no event at all", "dead_letter")]


@on_storage_queue
def test_nothing_is_received_while_too_much_waits_for_a_run(world: World) -> None:
    world.declare_queue(max_outstanding=1)
    daemon = world.daemon
    world.send(*world.upload("a.tif", "b.tif"))
    assert SOURCE in requests(daemon)
    world.send(*world.upload("c.tif"))
    assert "more than 1 (max_outstanding)" in skipped(daemon)
    assert world.waiting == 1
    assert world.pipeline.run("ingest_observed").success
    assert SOURCE in requests(daemon)
    assert world.waiting == 0


@on_storage_queue
def test_a_tick_takes_so_many_messages_and_the_next_one_goes_on(world: World) -> None:
    world.declare_queue(batch=2, max_per_tick=3)
    world.send(*world.upload("a.tif", "b.tif", "c.tif", "d.tif"))
    daemon = world.daemon
    daemon.tick()
    assert world.pipeline.status().blobs == 3
    daemon.tick()
    assert world.pipeline.status().blobs == 4


@on_service_bus
def test_work_that_comes_during_a_run_is_taken_in_and_asked_for_after_it(world: World) -> None:
    daemon = world.daemon
    run = a_run(world.pipeline, DagsterRunStatus.STARTING, job="ingest_rasters")
    world.send(*world.upload("a.tif"))
    assert "a run is in progress" in skipped(daemon)
    assert (world.waiting, world.pipeline.status().pending) == (0, 1)
    world.pipeline.instance.report_run_canceled(run)
    assert requests(daemon)[SOURCE].tags["geo_assets/correlation_id"] == "request-a.tif"


@on_storage_queue
def test_what_a_tick_took_in_before_it_died_is_asked_for_by_the_next_under_the_same_key(world: World) -> None:
    daemon = world.daemon
    world.send(*world.upload("a.tif"))
    first = requests(daemon)[SOURCE]
    daemon.cursor = None
    assert requests(daemon)[SOURCE].run_key == first.run_key
    assert "a run was requested already" in skipped(daemon)


def launch(world: World, request: RunRequest) -> None:
    """The run that Dagster makes of a request, to its end."""
    assert world.pipeline.run(str(request.job_name), run_key=request.run_key).success


@on_storage_queue
def test_work_that_both_queues_tell_of_is_asked_for_by_one_sensor(world: World) -> None:
    world.pipeline.declare_queue("other", service_bus=BUS_QUEUE)
    bus = Daemon(world.pipeline, "service_bus_sensor")
    world.send(*world.upload("a.tif"))
    request = requests(world.daemon)[SOURCE]
    assert "a run is in progress" in skipped(bus)
    launch(world, request)
    assert "nothing to do" in skipped(bus)
    world.send(*world.upload("b.tif"))
    second = requests(world.daemon)[SOURCE]
    a_run(world.pipeline, DagsterRunStatus.FAILURE, **{"dagster/run_key": str(second.run_key)})
    assert "a run was requested already" in skipped(bus)


@on_storage_queue
def test_work_that_a_listing_showed_is_not_asked_for_again_when_its_event_comes(world: World) -> None:
    events = world.upload("a.tif")
    listing = Daemon(world.pipeline)
    request = requests(listing)[SOURCE]
    assert request.job_name == "ingest_rasters"
    world.send(*events)
    assert "a run is in progress" in skipped(world.daemon)
    assert world.waiting == 0
    launch(world, request)
    assert "nothing to do" in skipped(world.daemon)
    assert "nothing to do" in skipped(listing)


@on_storage_queue
def test_what_a_look_saw_before_the_event_was_taken_in_is_not_asked_for_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(*world.upload("a.tif"))
    asked: dict[str, RunRequest] = {}

    def observe_slowly(*arguments: Any, **parts: Any) -> object:
        seen = observe(*arguments, **parts)
        asked.update(requests(world.daemon))
        return seen

    monkeypatch.setattr(blob_sensor, "observe", observe_slowly)
    assert "another sensor has just launched a run" in skipped(Daemon(world.pipeline))
    assert set(asked) == {SOURCE}


@on_storage_queue
def test_what_a_tick_asked_for_before_it_died_another_sensor_asks_for_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(*world.upload("a.tif"))
    first = requests(world.daemon)[SOURCE]
    monkeypatch.setattr(runs, "LAUNCHED_WITHIN", timedelta(0))
    monkeypatch.setattr(change, "FIRST_RETRY", timedelta(0))
    second = requests(Daemon(world.pipeline))[SOURCE]
    assert (second.job_name, second.run_key) == ("ingest_rasters", f"{str(first.run_key).rpartition(':')[0]}:2")


@on_service_bus
def test_each_source_with_something_to_do_gets_its_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "TICK_SECONDS", 20.0)
    world.pipeline.declare(f"az://{world.container.container_name}/busy", name="busy")
    world.pipeline.declare(f"az://{world.container.container_name}/calm", name="calm")
    world.declare_queue(sources=["busy", "calm"])
    names = [f"busy/{number}.tif" for number in range(30)]
    world.send(*world.upload(*names, "calm/a.tif"))
    assert set(requests(world.daemon)) == {"busy", "calm"}


@on_storage_queue
def test_a_queue_that_is_away_says_so_pauses_and_keeps_no_other_from_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.declare_queue("nowhere", storage_queue="no-such-queue")
    daemon = world.daemon
    world.send(*world.upload("a.tif"))
    assert SOURCE in requests(daemon)
    trouble = json.loads(str(daemon.cursor))["troubles"]
    assert list(trouble) == ["nowhere"]
    assert trouble["nowhere"]["remedy"].startswith("Create it")
    assert "Failed" in skipped(daemon)


@on_storage_queue
def test_while_the_store_is_away_messages_are_not_used_up(
    world: World, queue_service: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "FIRST_PAUSE", timedelta(0))
    monkeypatch.setattr(azure_blob_store, "ATTEMPTS", 1)
    world.send(*world.upload("a.tif", "b.tif"))
    away = f"BlobEndpoint=http://127.0.0.1:{free_port()}/{AZURITE_ACCOUNT}"
    parts: Sequence[str] = queue_service.connection_string.split(";")
    with monkeypatch.context() as outage:
        broken = ";".join(away if part.startswith("BlobEndpoint") else part for part in parts)
        outage.setenv("AZURE_STORAGE_CONNECTION_STRING", broken)
        daemon = world.daemon
        for _ in range(3):
            assert "Failed" in skipped(daemon)
    assert json.loads(str(daemon.cursor))["troubles"]["arrivals"]["times"] > 5
    assert SOURCE in requests(daemon)
    assert world.pipeline.query("SELECT max(redelivered), sum(poisoned) FROM ledger.received_batch") == [(2, 0)]
    assert json.loads(str(daemon.cursor))["troubles"] == {}


@on_storage_queue
def test_a_database_that_is_away_is_an_error_of_the_tick(world: World) -> None:
    world.send(*world.upload("a.tif"))
    away = Pipeline("postgresql://me@127.0.0.1:1/none", world.pipeline.sources_path, world.pipeline.instance)
    assert "database_unavailable" in Daemon(away, "storage_queue_sensor").error()
    assert world.waiting == 1
