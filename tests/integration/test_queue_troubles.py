"""Queues and stores that do not answer: each costs itself only, its tick ends in time, and the tick names it."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from dagster._core.definitions.sensor_definition import SensorExecutionData

from geo_assets.errors import QueueUnavailable
from geo_assets.events.service_bus import ServiceBusQueue
from geo_assets.sensors import queues, receiving
from tests.daemon import Daemon
from tests.event_messages import blob_event
from tests.peers.flaky_proxy import FlakyProxy, Mode
from tests.peers.service_bus import ServiceBusPeer
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import raster_bytes
from tests.services import Azurite, free_port

pytestmark = pytest.mark.usefixtures("short_ticks")

IN_TIME = 25.0
"""Seconds that a tick may take: Dagster gives it 60, and two busy cores need their part of that."""
SICK: tuple[Mode, ...] = ("silent", "drip", "drip_head", "reset")


@pytest.fixture
def proxy(queue_service: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """In front of Azurite's queues, of which each may behave in its own way."""
    assert queue_service.queue_port is not None
    with FlakyProxy(queue_service.queue_port) as opened:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", queue_service.connection_string)
        monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", queue_url(opened.port))
        yield opened


@pytest.fixture
def bus(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBusPeer]:
    with ServiceBusPeer("good", "bad") as peer:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", peer.connection_string)
        yield peer


def queue_url(port: int, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{port}/devstoreaccount1"


def ticked(daemon: Daemon) -> SensorExecutionData:
    """One tick, which ends in time."""
    began = time.monotonic()
    data = daemon.tick()
    assert time.monotonic() - began < IN_TIME
    return data


def requested(data: SensorExecutionData) -> set[str]:
    return {str(request.partition_key) for request in data.run_requests or []}


def troubles(daemon: Daemon) -> dict[str, str]:
    """What the cursor keeps of queues in trouble: what was said, by queue."""
    found = json.loads(str(daemon.cursor))["troubles"]
    return {name: f"{trouble['code']}: {trouble['message']}" for name, trouble in found.items()}


def upload(container: ContainerClient, name: str = "a.tif") -> bytes:
    container.upload_blob(name, raster_bytes(value=1), overwrite=True)
    return blob_event("Created", str(container.url), name)


@pytest.mark.parametrize("mode", SICK)
def test_a_storage_queue_that_does_not_answer_costs_itself_only(
    pipeline: Pipeline, container: ContainerClient, event_queue: QueueClient, proxy: FlakyProxy, mode: Mode
) -> None:
    pipeline.declare(f"az://{container.container_name}")
    pipeline.declare_queue("bad", storage_queue="bad-queue")
    pipeline.declare_queue("good", storage_queue=event_queue.queue_name)
    proxy.containers = {"bad-queue": mode}
    event_queue.send_message(upload(container).decode())
    daemon = Daemon(pipeline, "storage_queue_sensor")
    assert requested(ticked(daemon)) == {SOURCE}
    assert list(troubles(daemon)) == ["bad"]
    assert troubles(daemon)["bad"].startswith("queue_unavailable: Queue bad-queue ")
    event_queue.send_message(upload(container, "b.tif").decode())
    assert "bad: " in str(ticked(daemon).skip_message) or pipeline.status().blobs == 2
    assert event_queue.get_queue_properties().approximate_message_count == 0


@pytest.mark.parametrize("where", ["refused", "unknown", "silent"])
def test_an_account_of_queues_that_is_away_is_named_for_each_and_the_cursor_kept(
    pipeline: Pipeline, container: ContainerClient, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    pipeline.declare(f"az://{container.container_name}")
    for name in ("first", "second", "third"):
        pipeline.declare_queue(name, storage_queue=f"queue-{name}")
    proxy.mode = "silent"
    urls = {"refused": queue_url(free_port()), "unknown": queue_url(80, "no-such-host.invalid")}
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", urls.get(where, queue_url(proxy.port)))
    daemon = Daemon(pipeline, "storage_queue_sensor")
    data = ticked(daemon)
    assert sorted(troubles(daemon)) == ["first", "second", "third"]
    for name in ("first", "second", "third"):
        assert f"{name}: no messages; queue_unavailable: Queue queue-{name}" in str(data.skip_message)


def test_a_service_bus_queue_that_does_not_answer_costs_itself_only(
    pipeline: Pipeline, container: ContainerClient, bus: ServiceBusPeer
) -> None:
    pipeline.declare(f"az://{container.container_name}")
    for name in ("bad", "good"):
        pipeline.declare_queue(name, service_bus=name)
    bus.faults.silent_entity = "bad"
    bus.send("good", upload(container))
    daemon = Daemon(pipeline, "service_bus_sensor")
    assert requested(ticked(daemon)) == {SOURCE}
    assert list(troubles(daemon)) == ["bad"]
    assert bus.messages("good") == 0


@pytest.mark.parametrize("mode", ["silent", "drip", "down"])
def test_a_namespace_that_does_not_answer_is_named_and_serves_again_afterwards(
    pipeline: Pipeline, container: ContainerClient, bus: ServiceBusPeer, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    pipeline.declare(f"az://{container.container_name}")
    for name in ("bad", "good"):
        pipeline.declare_queue(name, service_bus=name)
    with FlakyProxy(bus.port) as proxy:
        there = bus.connection_string.replace(f":{bus.port};", f":{proxy.port};")
        monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", there)
        proxy.mode = mode
        daemon = Daemon(pipeline, "service_bus_sensor")
        ticked(daemon)
        assert sorted(troubles(daemon)) == ["bad", "good"]
        proxy.mode = "up"
        bus.send("good", upload(container))
        end = time.monotonic() + 60
        while requested(ticked(daemon)) != {SOURCE}:
            assert time.monotonic() < end
        assert "good" not in troubles(daemon)


def test_a_handshake_without_end_has_one() -> None:
    """Who listens and says nothing: at the port of AMQP with TLS, for the SDK takes no other."""
    connection_string = "Endpoint=sb://127.0.0.77;SharedAccessKeyName=a;SharedAccessKey=a2V5"
    began = time.monotonic()
    with (
        socket.create_server(("127.0.0.77", 5671)),
        ServiceBusQueue.from_connection_string(connection_string, "events") as queue,
        pytest.raises(QueueUnavailable),
    ):
        queue.receive(1, wait=queues.POLL)
    assert time.monotonic() - began < IN_TIME


@pytest.mark.parametrize("mode", ["silent", "drip"])
def test_a_store_that_does_not_answer_costs_the_messages_of_its_own_sources_only(
    pipeline: Pipeline,
    container: ContainerClient,
    event_queue: QueueClient,
    queue_service: Azurite,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
) -> None:
    pipeline.declare(f"az://{container.container_name}")
    pipeline.declare("az://dead-container", name="dead")
    pipeline.declare_queue("arrivals", storage_queue=event_queue.queue_name, max_attempts=2)
    there = upload(container)
    dead = there.replace(str(container.container_name).encode(), b"dead-container")
    with FlakyProxy(queue_service.port) as proxy:
        proxy.containers = {"dead-container": mode}
        through = queue_service.connection_string.replace(f":{queue_service.port}/", f":{proxy.port}/")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", through)
        daemon = Daemon(pipeline, "storage_queue_sensor")
        event_queue.send_message(dead.decode())
        event_queue.send_message(there.decode())
        assert requested(ticked(daemon)) == {SOURCE}
        ((new, abandoned),) = pipeline.query("SELECT max(new), max(abandoned) FROM ledger.received_batch")
        assert (new, abandoned) == (1, 1)
        event_queue.send_message(upload(container, "b.tif").decode())
        end = time.monotonic() + 90
        while event_queue.get_queue_properties().approximate_message_count:
            assert time.monotonic() < end
            ticked(daemon)
    assert pipeline.status().blobs == 2
    assert pipeline.query("SELECT error_code, delivery_count FROM ledger.message") == [("storage_unavailable", 2)]


def test_a_queue_that_hangs_for_good_is_left_and_asked_by_one_thread_only(
    pipeline: Pipeline,
    container: ContainerClient,
    event_queue: QueueClient,
    proxy: FlakyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a resolver of names hangs: nothing but the tick's own patience ends that."""
    pipeline.declare(f"az://{container.container_name}")
    pipeline.declare_queue("bad", storage_queue="bad-queue")
    pipeline.declare_queue("good", storage_queue=event_queue.queue_name)
    proxy.containers = {"bad-queue": "silent"}
    monkeypatch.setattr(receiving, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr("geo_assets.events.storage_queue.NO_SDK_RETRY", {"retry_total": 0, "read_timeout": 15})
    daemon = Daemon(pipeline, "storage_queue_sensor")
    for name in ("a.tif", "b.tif"):
        event_queue.send_message(upload(container, name).decode())
        began = time.monotonic()
        daemon.tick()
        assert time.monotonic() - began < 10
        assert troubles(daemon) == {"bad": "queue_unavailable: Queue bad-queue does not answer."}
        time.sleep(1.1)  # its pause
    assert pipeline.status().blobs == 2
