"""Fixtures for all tests: real services, one for all processes of the tests, and a clean world for each test.

Here: fixtures more than one folder of tests needs. Not here: how services start (`tests.services`).
"""

import gc
import os
import signal
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import structlog
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient, QueueServiceClient
from psycopg import sql

from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.settings import Settings
from tests.pipeline import TEMPLATE, Pipeline, copied_database, make_template, open_pipeline
from tests.services import Azurite, Shared, start_cluster

SHARED = "SHARED_BY_TESTS"
FOREIGN_VARIABLES = ("GEO_ASSETS_", "AZURE_", "DAGSTER_")
SAMPLES = os.environ.get("GEO_ASSETS_SAMPLES")
# An example that a busy machine takes long for has not failed.
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("untimed")
# Tracebacks with all local variables, which rich makes where nothing else is said, take seconds each.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
# A background job of a shell ignores SIGINT. Dagster would have SIGTERM do the same, here and in every child.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class NetworkBlockedError(Exception):
    """A test tried to reach another machine."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable or .env of the developer decides how a test ends."""
    for name in os.environ:
        if name.startswith(FOREIGN_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets of this process reach this machine only."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
            raise NetworkBlockedError(f"a test connects to {address}: use a service on this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of what all processes of these tests share: xdist's workers find it by a variable."""
    if not hasattr(config, "workerinput"):
        folder = Path(tempfile.mkdtemp(prefix="geo_assets-tests-"))
        folder.chmod(0o755)
        os.environ[SHARED] = str(folder)


def pytest_collection_finish() -> None:
    """Have the collector of garbage leave alone what is imported by now: going through it took a fifth of the time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what they shared, also after Ctrl-C."""
    if not hasattr(config, "workerinput") and (folder := os.environ.pop(SHARED, None)):
        Shared(Path(folder)).end()


@pytest.fixture(scope="session")
def shared() -> Shared:
    """What all processes of these tests share."""
    return Shared(Path(os.environ[SHARED]))


@pytest.fixture(scope="session")
def postgres_cluster(shared: Shared) -> EmbeddedPostgres:
    """The running PostgreSQL of all tests. Nobody alters its roles: see `own_cluster`."""
    return shared.cluster()


@pytest.fixture(scope="session")
def migrated_template(postgres_cluster: EmbeddedPostgres, shared: Shared) -> str:
    """The name of a database with both schemas installed, to copy: migrating takes seconds, a copy none."""
    return shared.once("template", lambda _: make_template(postgres_cluster))


@pytest.fixture(scope="session")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL of this process's own with a template, for tests marked `alters_roles`.

    All databases of a server have the same roles: two that are migrated at once are in each other's way.
    """
    cluster = EmbeddedPostgres(tmp_path_factory.mktemp("cluster"), durable=False)
    try:
        start_cluster(cluster)
        make_template(cluster)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> EmbeddedPostgres:
    """The PostgreSQL that this test's databases lie in, with the template."""
    if request.node.get_closest_marker("alters_roles"):
        found = request.getfixturevalue("own_cluster")
    else:
        found = request.getfixturevalue("postgres_cluster")
        request.getfixturevalue("migrated_template")
    assert isinstance(found, EmbeddedPostgres)
    return found


@pytest.fixture
def database_url(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database of this test's own, for its owner."""
    name = f"test_{uuid.uuid4().hex}"
    cluster.ensure_databases(name)
    yield cluster.url(name)
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def catalogue(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a migrated database of this test's own, for its owner."""
    with copied_database(cluster, TEMPLATE) as url:
        yield url


@pytest.fixture
def pipeline(catalogue: str, tmp_path: Path) -> Iterator[Pipeline]:
    """geo_assets on a database of this test's own, with no source declared yet."""
    with open_pipeline(catalogue, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def module_catalogue(postgres_cluster: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a migrated database that the tests of one module share, for its owner."""
    with copied_database(postgres_cluster, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_pipeline(module_catalogue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """geo_assets on a database that the tests of one module share, for those that only read what is there."""
    with (
        pytest.MonkeyPatch.context() as patch,
        open_pipeline(module_catalogue, tmp_path_factory.mktemp("pipeline")) as opened,
    ):
        patch.setitem(Settings.model_config, "env_file", None)
        yield opened


@pytest.fixture(scope="session")
def azurite(shared: Shared) -> Azurite:
    """The running Azurite of all tests."""
    return shared.azurite()


@pytest.fixture
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    """An empty container of this test's own."""
    service = BlobServiceClient.from_connection_string(azurite.connection_string)
    client = service.create_container(f"test-{uuid.uuid4().hex}")
    with service:
        yield client
        client.delete_container()


@pytest.fixture(scope="session")
def queue_service(shared: Shared) -> Azurite:
    """The same Azurite with its queue service, which starts with the first test that asks for it."""
    return shared.queues()


@pytest.fixture
def event_queue(queue_service: Azurite) -> Iterator[QueueClient]:
    """An empty queue of this test's own; its dead letters go with it."""
    name = f"test-{uuid.uuid4().hex}"
    with QueueServiceClient.from_connection_string(queue_service.connection_string) as service:
        yield service.create_queue(name)
        for queue in service.list_queues(name_starts_with=name):
            service.delete_queue(queue)


@pytest.fixture(scope="session")
def made_once(shared: Shared) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder of this name by a function that fills it: once for all processes of the tests, to be read only."""

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        def filled(home: Path) -> str:
            fill(home)
            return str(home)

        return Path(shared.once(name, filled))

    return make


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample files that GEO_ASSETS_SAMPLES names; the test is skipped where it is unset."""
    if not SAMPLES:
        pytest.skip("GEO_ASSETS_SAMPLES is not set")
    return Path(SAMPLES)
