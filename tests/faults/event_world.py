"""A world for faults: a container whose changes queues tell of, and the daemon that is killed and started again.

Here: the container and its events, the process under fault, and waiting until all is quiet. Not here: the moments
(`killing`), the daemon (`tick`), the judgement (`verdict`).
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueServiceClient

from geo_assets.events.message_queue import MessageQueue
from geo_assets.events.service_bus import ServiceBusQueue
from geo_assets.events.storage_queue import StorageQueue
from geo_assets.models import Channel
from geo_assets.storage.azure_transport import BoundedTransport
from tests.faults.killing import Moment
from tests.faults.verdict import Verdict, judge
from tests.peers.blob_events import (
    BlobChange,
    Event,
    as_cloud_event,
    make_event,
    service_bus_body,
    storage_queue_text,
)
from tests.peers.service_bus import ServiceBusPeer
from tests.peers.service_bus_broker import Rules
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import raster_bytes
from tests.services import PROJECT, Azurite, own_environment

# What `tick` needs in its dagster.yaml besides the product's.
_LAUNCHER = """
run_launcher:
  module: dagster._core.launcher.sync_in_memory_run_launcher
  class: SyncInMemoryRunLauncher
"""
HIDDEN_SECONDS = 4.0
"""How long a message stays with a receiver that was killed: longer than a tick, far shorter than in the product."""
QUIET_WITHIN_SECONDS = 180
KILLED_WITHIN_SECONDS = 120
_POLL_SECONDS = 0.2


@dataclass
class EventWorld:
    """One source in a container of Azurite; ``paths`` are the kinds of queue that tell of its blobs."""

    pipeline: Pipeline
    azurite: Azurite
    container: ContainerClient
    home: Path
    name: str
    paths: Sequence[Channel]
    peer: ServiceBusPeer | None = None
    _next: int = field(default=0, init=False)

    @property
    def sensors(self) -> list[str]:
        """The sensors of the world: those of its queues, or the one that lists."""
        return [f"{path}_sensor" for path in self.paths] or ["blob_sensor"]

    @property
    def blobs(self) -> dict[str, str]:
        """The names and etags of all blobs that are there."""
        return {str(blob.name): str(blob.etag).strip('"') for blob in self.container.list_blobs()}

    def happen(self) -> None:
        """All that happens to blobs, after some are catalogued: new, again, bad, gone, and messages that say nothing.

        So many that a batch of messages and a batch of a run are full ones, and in two months.
        """
        old = [f"old/2024{1 + number % 2:02d}07_{number}.tif" for number in range(50)]
        new = [f"new/2024{1 + number % 2:02d}08_{number}.tif" for number in range(90)]
        self.put_silently(*old)
        self.ingest_quietly()
        self.put(*new, *new[:3], *old[:10])
        self.put("new/20240301_bad.tif", content=b"no raster at all")
        self.delete(*old[-5:], new[4])
        self.send(b"no event at all", b"[]")

    def put(self, *names: str, content: bytes | None = None) -> None:
        """Put a new version of each, in this order, and tell of it; by default rasters that differ from each other."""
        self.send(*self.put_silently(*names, content=content))

    def put_silently(self, *names: str, content: bytes | None = None) -> list[Event]:
        """Put a new version of each; the events that nobody was sent."""
        return [self._put(name, content) for name in names]

    def delete(self, *names: str) -> None:
        """Delete each, and tell of it."""
        self.send(*self.delete_silently(*names))

    def delete_silently(self, *names: str) -> list[Event]:
        """Delete each; the events that nobody was sent."""
        for name in names:
            self.container.delete_blob(name)
        return [self._event(BlobChange("deleted", name)) for name in names]

    def send(self, *messages: Event | bytes) -> None:
        """Send messages through every path: events, or bytes as they are."""
        if "storage_queue" in self.paths:
            with self._storage_queues() as service, service.get_queue_client(self.name) as queue:
                for each in messages:
                    queue.send_message(each.decode() if isinstance(each, bytes) else storage_queue_text(each))
        if self.peer is not None:
            self._send_by_bus(messages)

    def ingest_quietly(self) -> None:
        """Make items of what is there by a listing in this process: what was before the fault."""
        assert self.pipeline.run("ingest_rasters").success
        self.pipeline.execute("DELETE FROM ledger.listing")

    def start(self, *arguments: str, moment: Moment | None = None) -> "subprocess.Popen[str]":
        """Start the daemon of all sensors of this world; with ``moment`` one that is killed there."""
        command = ["tests.faults.tick", *arguments, *self.sensors]
        if moment is not None:
            command = ["tests.faults.killing", str(moment), *command]
        return self.run(*command, launcher=_LAUNCHER)

    def run(self, *command: str, launcher: str = "") -> "subprocess.Popen[str]":
        """Start a module with arguments, pointed at this world; ``launcher`` is added to the product's dagster.yaml."""
        self.home.mkdir(exist_ok=True)
        (self.home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text() + launcher)
        bus = {"AZURE_SERVICEBUS_CONNECTION_STRING": self.peer.connection_string} if self.peer else {}
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT,
            env=own_environment(
                DAGSTER_HOME=str(self.home),
                GEO_ASSETS_DATABASE_URL=self.pipeline.database_url,
                GEO_ASSETS_SOURCES=str(self.pipeline.sources_path),
                GEO_ASSETS_WORKERS="1",
                **self.azurite.environment,
                **bus,
            ),
            stdin=subprocess.DEVNULL,
            stdout=(self.home / "log").open("a"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kill_at(self, moment: Moment) -> None:
        """Run the daemon until it is killed at the moment; fails where it never comes to it."""
        process = self.start("--forever", "--hidden", str(HIDDEN_SECONDS), moment=moment)
        try:
            status = process.wait(timeout=KILLED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = None
        assert status == -signal.SIGKILL, f"never killed {moment}: {status}\n{self.log[-4000:]}"

    @property
    def log(self) -> str:
        """What the daemons have said."""
        return (self.home / "log").read_text()

    def converge(self) -> None:
        """Run the daemon without a fault until nothing is left to do anywhere."""
        process = self.start("--forever")
        try:
            self.wait_until_quiet([process])
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # Dagster's run and tick each take a SIGTERM for their own end only
            process.wait()

    def wait_until_quiet(
        self, processes: "Sequence[subprocess.Popen[str]]", *, seconds: float = QUIET_WITHIN_SECONDS
    ) -> None:
        """Wait until nothing is left to do anywhere; fails where one of these processes ends, or it takes too long."""
        deadline = time.monotonic() + seconds
        while not (self._is_quiet() and self._is_quiet()):
            assert all(process.poll() is None for process in processes), f"a process ended\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"not quiet: {self._left()}\n{self.log[-4000:]}"
            time.sleep(_POLL_SECONDS)

    def judge(self) -> Verdict:
        """What holds now."""
        with ExitStack() as stack:
            queues: list[MessageQueue] = []
            if "storage_queue" in self.paths:
                service = stack.enter_context(self._storage_queues())
                queues.append(stack.enter_context(StorageQueue(service, self.name)))
            if self.peer is not None:
                bus = ServiceBusQueue.from_connection_string(self.peer.connection_string, self.name)
                queues.append(stack.enter_context(bus))
            return judge(self.pipeline, self.blobs, queues=queues, waiting=self.waiting())

    def waiting(self) -> dict[str, int]:
        """How many messages lie in each queue, those with a receiver too."""
        found: dict[str, int] = {}
        if "storage_queue" in self.paths:
            with self._storage_queues() as service, service.get_queue_client(self.name) as queue:
                found["storage_queue"] = queue.get_queue_properties().approximate_message_count or 0
        if self.peer is not None:
            found["service_bus"] = self.peer.messages(self.name)
        return found

    def _is_quiet(self) -> bool:
        left = self._left()
        return not any(left.values())

    def _left(self) -> dict[str, int]:
        """What is left to do, by where it lies."""
        outstanding = self.pipeline.database.blobs.outstanding(SOURCE)
        ((runs,),) = self.pipeline.query("SELECT count(*) FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE')")
        ((listings,),) = self.pipeline.query("SELECT count(*) FROM ledger.listing WHERE complete")
        return {
            **self.waiting(),
            "pending": outstanding.pending,
            "to withdraw": outstanding.to_withdraw,
            "runs": runs,
            "listings": int(not self.paths and not listings),
        }

    def _put(self, name: str, content: bytes | None) -> Event:
        self._next += 1
        uploaded = self.container.upload_blob(name, content or raster_bytes(value=self._next), overwrite=True)
        properties = uploaded.get_blob_properties()
        return self._event(BlobChange("created", name, str(properties.etag).strip('"'), int(properties.size)))

    def _event(self, change: BlobChange) -> Event:
        return make_event(change, container=str(self.container.container_name), account_url=self.azurite.account_url)

    def _send_by_bus(self, messages: Sequence[Event | bytes]) -> None:
        assert self.peer is not None
        bodies = [each if isinstance(each, bytes) else service_bus_body(as_cloud_event(each)) for each in messages]
        with (
            ServiceBusClient.from_connection_string(self.peer.connection_string) as client,
            client.get_queue_sender(self.name) as sender,
        ):
            sender.send_messages([ServiceBusMessage(body) for body in bodies])

    def _storage_queues(self) -> QueueServiceClient:
        return QueueServiceClient.from_connection_string(self.azurite.connection_string, transport=BoundedTransport())


@contextmanager
def event_world(
    pipeline: Pipeline, azurite: Azurite, container: ContainerClient, folder: Path, *, paths: Sequence[Channel]
) -> Iterator[EventWorld]:
    """A world with queues of its own, gone after the block; ``azurite`` has its queue service too."""
    dates = [{"name": r"/(?P<date>\d{8})_", "format": "%Y%m%d"}]
    pipeline.declare(f"az://{container.container_name}", datetime=dates)
    name = f"test-{uuid.uuid4().hex}"
    for path in paths:
        pipeline.declare_queue(path, **{path: name})
    with ExitStack() as stack:
        peer = None
        if "storage_queue" in paths:
            service = stack.enter_context(QueueServiceClient.from_connection_string(azurite.connection_string))
            service.create_queue(name)
            stack.callback(lambda: [service.delete_queue(each) for each in service.list_queues(name)])
        if "service_bus" in paths:
            peer = stack.enter_context(ServiceBusPeer(name, rules=Rules(lock_seconds=HIDDEN_SECONDS)))
        yield EventWorld(pipeline, azurite, container, folder / "home", name, paths, peer)
