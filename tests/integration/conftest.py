"""Fixtures that several integration tests share, beside those of all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from playwright.sync_api import Browser, Page, expect, sync_playwright

from geo_assets.assets import plan
from geo_assets.assets.plan import ONE_FILE_A_STEP_BELOW
from geo_assets.raster import reader
from geo_assets.resources.database import Database
from geo_assets.resources.queues import MessageQueues
from geo_assets.sensors import queues
from geo_assets.sources.rules import QueueRule
from geo_assets.workers.pool import shared_pool
from tests.arrivals import Arrivals, source_in
from tests.daemon import Daemon
from tests.peers.service_bus import ServiceBusPeer
from tests.pipeline import InProcess, Pipeline
from tests.rasters import write_raster
from tests.services import Azurite
from tests.token_issuer import Issuer, running_issuer

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="module", autouse=True)
def _reads_in_process() -> Iterator[None]:
    """Headers are read in this process: what workers are for is the subject of the fault tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "shared_pool", lambda *_: InProcess())
        yield


@pytest.fixture(scope="module", autouse=True)
def _few_steps() -> Iterator[None]:
    """A few blobs are one batch, as some dozens are: a step costs Dagster as much as a file costs us."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "ONE_FILE_A_STEP_BELOW", 1)
        yield


@pytest.fixture
def one_file_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few blobs are a step each after all, as everywhere else."""
    monkeypatch.setattr(plan, "ONE_FILE_A_STEP_BELOW", ONE_FILE_A_STEP_BELOW)


@pytest.fixture
def worker_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are read in worker processes after all, as everywhere else."""
    monkeypatch.setattr(reader, "shared_pool", shared_pool)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, which starts once for the tests of a module."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "there is no Chromium: bash scripts/setup.sh --with-azurite installs it"
    expect.set_options(timeout=20_000)  # the machine may be busy
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=BROWSER_FLAGS)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, in which nothing may go wrong, break its policy, open a dialog or ask another origin."""
    errors: list[str] = []
    asked: set[str] = set()
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Policy" in message.text else None)
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname or "127.0.0.1"))
    yield page
    page.close()
    assert errors == []
    assert asked <= {"127.0.0.1"}


@pytest.fixture
def folder(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A folder declared as the source, with three good rasters."""
    folder = tmp_path / "container"
    for number in range(3):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.declare(folder.as_uri())
    return folder


@pytest.fixture
def silver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is the silver place, with scratch beside it."""
    monkeypatch.setenv("GEO_ASSETS_SILVER", (tmp_path / "silver").as_uri())
    monkeypatch.setenv("GEO_ASSETS_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "silver"


@pytest.fixture
def database(catalogue: str) -> Database:
    """The ledger of a database of this test's own."""
    return Database(database_url=catalogue)


@pytest.fixture
def daemon(pipeline: Pipeline) -> Daemon:
    """What evaluates the sensor of blobs, tick after tick."""
    return Daemon(pipeline)


@pytest.fixture
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick of a queue's sensor takes a second."""
    monkeypatch.setattr(queues, "TICK_SECONDS", 1.0)


@pytest.fixture(scope="module")
def running_peer() -> Iterator[ServiceBusPeer]:
    """What speaks for Service Bus, for the tests of one module; who makes faults resets it."""
    with ServiceBusPeer() as peer:
        yield peer


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """An OpenID Connect issuer with one key."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def arrivals(
    container: ContainerClient,
    event_queue: QueueClient,
    queue_service: Azurite,
    catalogue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Arrivals]:
    """A container, a queue that tells of it, and one source; a message has two tries."""
    for name, value in queue_service.environment.items():
        monkeypatch.setenv(name, value)
    rule = QueueRule(name="arrivals", storage_queue=event_queue.queue_name, max_attempts=2)
    source = source_in(str(container.container_name), include=["**/*.tif", "**/*.png"])
    with MessageQueues().open(rule) as queue:
        yield Arrivals(container, event_queue, queue, rule, {source.name: source}, Database(database_url=catalogue))
