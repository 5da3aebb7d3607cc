"""The whole path of an event on this machine: `make up EVENTS=1`, or `python -m tests.peers.local_loop`.

Drop a file into a folder, and see it become an item: the folder is mirrored into a container of Azurite, whose changes
go as events to a Storage Queue and to Service Bus, and geo_assets takes them from there. All of it lies below the state
folder, with databases of its own; a second start goes on with what is there, but for what lay in Service Bus, which is
kept in memory. Not here: each of the parts (`event_grid`, `service_bus`, `tests.services`).
"""

import argparse
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from azure.core.exceptions import ResourceExistsError
from azure.servicebus import ServiceBusClient
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from geo_assets.postgres.databases import ensure_embedded_databases
from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.settings import Settings
from tests.peers.event_grid import EventGrid, MirroredFolder, ServiceBusSubscriber, StorageQueueSubscriber, watch
from tests.peers.service_bus import ServiceBusPeer
from tests.services import PROJECT, Azurite, free_port, own_environment, running_azurite, running_queues

INBOX, LOAD, LISTED = "inbox", "load", "listed"
QUEUE = "blob-events"
CATALOGUE, DAGSTER = "geo_assets_events", "dagster_events"
STOP_SECONDS = 120

_SOURCES = f"""\
# Made by `make up EVENTS=1`, and yours to edit: it is not written again.
sources:
  {INBOX}:  # mirrors the folder `inbox`; its changes are told to both queues
    url: az://{INBOX}
    collection: {{id: {INBOX}, title: Inbox, description: What was put into the local inbox.}}
    datetime:
      - metadata: TIFFTAG_DATETIME
      - {{name: '(?P<date>20\\d{{6}})', format: "%Y%m%d"}}
      - last_modified
    deletions: {{most: 1}}
  {LOAD}:  # filled by `python -m tests.peers.load`
    url: az://{LOAD}
    collection: {{id: {LOAD}, title: Load, description: Copies of one raster to measure with.}}
    datetime: [last_modified]
    deletions: {{most: 1}}
  {LISTED}:  # as well, for the listing's path: no event tells of it
    url: az://{LISTED}
    relist: 15s
    collection: {{id: {LISTED}, title: Listed, description: Copies of one raster to measure with.}}
    datetime: [last_modified]
    deletions: {{most: 1}}
queues:
  by-storage-queue: {{storage_queue: {QUEUE}}}
  by-service-bus: {{service_bus: {QUEUE}}}
"""


@dataclass(frozen=True, slots=True)
class LoopPlaces:
    """Where the loop keeps its things, below the state folder."""

    state: Path

    @property
    def inbox(self) -> Path:
        """The folder to drop files into."""
        return self.state / "inbox"

    @property
    def folder(self) -> Path:
        """All the rest: Azurite's files, Dagster's home, logs, and the two files below."""
        return self.state / "events"

    @property
    def sources(self) -> Path:
        """The sources.yaml of the loop."""
        return self.folder / "sources.yaml"

    @property
    def environment(self) -> Path:
        """A file for a shell to source, after which `geo-assets` speaks to the loop."""
        return self.folder / "environment"

    def prepare(self) -> None:
        """Make the folders and sources.yaml where they are missing."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        (self.folder / "azurite").mkdir(parents=True, exist_ok=True)
        if not self.sources.exists():
            self.sources.write_text(_SOURCES)

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Keep the variables, which hold the database's password, for the user alone."""
        self.environment.touch(mode=0o600)
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        self.environment.write_text("".join(lines))

    def read_environment(self) -> dict[str, str]:
        """The variables of the loop that runs, or ran last."""
        words = shlex.split(self.environment.read_text())
        return dict(word.split("=", 1) for word in words if word != "export")


@contextmanager
def running_services(places: LoopPlaces) -> Iterator[dict[str, str]]:
    """All but geo_assets itself inside the block; the variables that point geo_assets to them."""
    with ExitStack() as stack:
        cluster = stack.enter_context(EmbeddedPostgres(places.state).running())
        ensure_embedded_databases(cluster, catalogue=CATALOGUE, dagster=DAGSTER)
        folder = places.folder / "azurite"
        blobs = stack.enter_context(running_azurite(folder, port=_port(10_000), persistent=True))
        azurite = stack.enter_context(running_queues(folder, blobs, port=_port(10_001), persistent=True))
        bus = stack.enter_context(ServiceBusPeer(QUEUE, port=_port(5_672))).connection_string
        stack.enter_context(_event_grid(azurite, bus, places.inbox))
        yield {
            "GEO_ASSETS_STATE": str(places.folder),
            "GEO_ASSETS_SOURCES": str(places.sources),
            "GEO_ASSETS_SILVER": (places.folder / "silver").as_uri(),
            "GEO_ASSETS_DATABASE_URL": cluster.url(CATALOGUE),
            "DAGSTER_POSTGRES_URL": cluster.url(DAGSTER),
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "AZURE_STORAGE_QUEUE_URL": azurite.queue_url,
            "AZURE_SERVICEBUS_CONNECTION_STRING": bus,
        }


@contextmanager
def _event_grid(azurite: Azurite, bus: str, inbox: Path) -> Iterator[None]:
    """Containers and queues, made where they are missing, and a thread that tells the inbox's changes."""
    connection = azurite.connection_string
    with (
        ContainerClient.from_connection_string(connection, INBOX) as container,
        ContainerClient.from_connection_string(connection, LOAD) as load,
        ContainerClient.from_connection_string(connection, LISTED) as listed,
        QueueClient.from_connection_string(connection, QUEUE) as queue,
        ServiceBusClient.from_connection_string(bus) as service_bus,
        service_bus.get_queue_sender(QUEUE) as sender,
    ):
        for made in (container.create_container, load.create_container, listed.create_container, queue.create_queue):
            with suppress(ResourceExistsError):
                made()
        subscribers = (StorageQueueSubscriber(queue), ServiceBusSubscriber(sender))
        grid = EventGrid(container, azurite.account_url, subscribers)
        over = threading.Event()
        mirror = MirroredFolder(inbox, container)
        thread = threading.Thread(target=watch, args=(grid, mirror), kwargs={"until": over}, name="event-grid")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def running_geo_assets(variables: Mapping[str, str], *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """`geo-assets up` inside the block, in a session of its own: a Ctrl-C reaches it through us, in its turn."""
    program = Path(sys.executable).parent / "geo-assets"
    process = subprocess.Popen(
        [str(program), "up", *arguments], cwd=PROJECT, env={**_plain_environment(), **variables}, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _plain_environment() -> dict[str, str]:
    """The environment without what leads to other stores and queues; how to work stays as the user set it."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("GEO_ASSETS_")}
    return own_environment(**kept)


@contextmanager
def _stopping_by_signal() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C leave the block in order; a second one changes nothing."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, leave)
    with suppress(KeyboardInterrupt):
        yield


def _port(wanted: int) -> int:
    """``wanted``, so that the addresses in items stay right, or another where somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def _say_what_to_do(places: LoopPlaces) -> None:
    inbox, environment = (_short(path) for path in (places.inbox, places.environment))
    lines = (
        f"Inbox:      cp file.tif {inbox}/      (overwrite it, delete it: the catalogue follows)",
        f"Item:       . {environment} && .venv/bin/geo-assets items show {INBOX} file",
        f"State:      . {environment} && .venv/bin/geo-assets status {INBOX}",
        "Load:       .venv/bin/python -m tests.peers.load --path service_bus --events 100",
        "Services:   Azurite's blobs and queues, and a Service Bus peer; geo-assets up follows:",
    )
    print("\n".join(lines), flush=True)  # noqa: T201


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> int:
    """Run the loop until Ctrl-C or SIGTERM, or until one of its parts ends; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers.local_loop", description=__doc__.splitlines()[0])
    parser.add_argument("--port", default="3000", help="port of Dagster's web UI; the next free one is taken")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    places = LoopPlaces(Settings().state_folder)
    places.prepare()
    with _stopping_by_signal(), running_services(places) as variables:
        places.write_environment(variables)
        _say_what_to_do(places)
        with running_geo_assets(variables, "--port", options.port) as process:
            return process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
