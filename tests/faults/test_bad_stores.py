"""Stores that are silent, drip, reset or refuse, and containers and accounts that are gone, beside sound sources.

Dagster's own daemon with the product's dagster.yaml. Sources of Azure share one account, so an account that refuses or
is gone has a world of its own, beside folders. `make test` has the ticks beside stores that do not answer,
in its own process (`tests.integration.test_source_troubles`).
"""

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, SensorInstigatorData, TickStatus

from tests.dagster_cli import DagsterCli
from tests.peers.flaky_proxy import FlakyProxy, Mode
from tests.pipeline import Pipeline, failure_text
from tests.rasters import raster_bytes
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, Azurite, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.soak

ITEM_WITHIN_SECONDS = 60.0
STARTS_WITHIN_SECONDS = 240
RUN_ENDS_WITHIN_SECONDS = 300
AWAY_CODES = {"storage_unavailable", "invalid_configuration"}


@dataclass
class Sources:
    """The sources of a world: ``bad`` ones, and ``good`` ones in folders and containers, in any order."""

    pipeline: Pipeline
    environment: Mapping[str, str]
    bad: set[str] = field(default_factory=set)
    good: dict[str, Path | str] = field(default_factory=dict)

    def put(self, source: str, name: str) -> None:
        """Put a raster into a good source."""
        place = self.good[source]
        if isinstance(place, Path):
            (place / f".{name}").write_bytes(raster_bytes())
            (place / f".{name}").rename(place / name)
            return
        with BlobServiceClient.from_connection_string(self.environment["direct"]) as service:
            service.get_blob_client(place, name).upload_blob(raster_bytes())


def declare(world: Sources, folder: Path, *, bad: Mapping[str, str], good: int, containers: int = 0) -> None:
    """Write sources.yaml: so many good ones, ``containers`` of them in Azurite, and bad ones, shuffled."""
    places: dict[str, str] = {f"bad-{name}": url for name, url in bad.items()}
    world.bad = set(places)
    for number in range(good):
        name = f"good-{number:02d}"
        if number < containers:
            with BlobServiceClient.from_connection_string(world.environment["direct"]) as service:
                service.create_container(f"{folder.name.replace('_', '-')[:40]}-{number}")
            world.good[name] = f"{folder.name.replace('_', '-')[:40]}-{number}"
            places[name] = f"az://{world.good[name]}"
        else:
            (folder / name).mkdir(parents=True)
            world.good[name] = folder / name
            places[name] = (folder / name).as_uri()
    names = list(places)
    random.Random(7).shuffle(names)
    for name in names:
        world.pipeline.declare(places[name], name=name)


@contextmanager
def daemon(world: Sources, home: Path) -> Iterator[DagsterInstance]:
    """Dagster's daemon and its code server on the world, ended with all their runs; the instance they work on."""
    variables = {name: value for name, value in world.environment.items() if name != "direct"}
    cli = DagsterCli(home, world.pipeline.database_url, world.pipeline.sources_path, variables)
    home.mkdir()
    with (home / "log").open("w") as log:
        process = cli.popen("run", "-m", "geo_assets.definitions", program="dagster-daemon", stdout=log)
    try:
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=30)
        finally:
            kill_group(process.pid)


def kill_group(group: int) -> None:
    """End what is left of the daemon's processes, runs too."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def state(instance: DagsterInstance) -> InstigatorState | None:
    """What Dagster knows of blob_sensor."""
    found = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    return next((each for each in found if each.name == "blob_sensor"), None)


def ticks(instance: DagsterInstance) -> list[InstigatorTick]:
    """The ticks of blob_sensor that have ended, the latest first."""
    if (known := state(instance)) is None:
        return []
    found = instance.get_ticks(known.instigator_origin_id, known.selector_id)
    return [tick for tick in found if tick.status is not TickStatus.STARTED]


def seen_whole_at(instance: DagsterInstance, source: str) -> str | None:
    """When the sensor last saw all of the source."""
    known = state(instance)
    data = known.instigator_data if known else None
    watches = json.loads((isinstance(data, SensorInstigatorData) and data.cursor) or "{}")
    moment: str | None = watches.get(source, {}).get("seen_whole_at")
    return moment


def seconds(tick: InstigatorTick) -> float:
    """How long it took."""
    return (tick.end_timestamp or time.time()) - tick.timestamp


def items_of(pipeline: Pipeline) -> dict[str, int]:
    """How many items each source has."""
    return dict(pipeline.query("SELECT source, count(*) FROM ledger.item GROUP BY source"))


def check_that_none_notices(
    world: Sources, instance: DagsterInstance, *, together: int, within: float, report: list[str]
) -> None:
    """Blobs come into good sources, ``together`` at a time; all have items in time, and every bad source is named."""
    hourly = next(iter(world.good))
    wait_until(lambda: seen_whole_at(instance, hourly) is not None, "a first look", seconds=STARTS_WITHIN_SECONDS)
    seen_at = seen_whole_at(instance, hourly)
    world.put(hourly, "too_soon.tif")
    names = [name for name in world.good if name != hourly]
    random.Random(8).shuffle(names)
    for start in range(0, len(names), together):
        group = names[start : start + together]
        began = time.monotonic()
        for name in group:
            world.put(name, "new.tif")
        for name in group:
            wait_until(
                lambda name=name: items_of(world.pipeline).get(name) == 1,  # type: ignore[misc]
                f"the item of {name}",
                seconds=max(1.0, within - (time.monotonic() - began)),
            )
            report.append(f"{name}: {time.monotonic() - began:.1f} s")
    troubles = world.pipeline.database.sources.troubles()
    assert troubles.keys() == world.bad, troubles
    assert {trouble.code for trouble in troubles.values()} <= AWAY_CODES
    ended = ticks(instance)
    report.append("ticks: " + ", ".join(f"{seconds(tick):.1f} s" for tick in reversed(ended)))
    assert [tick.error for tick in ended if tick.status is TickStatus.FAILURE] == []
    assert max(map(seconds, ended)) < 40
    said = [str(tick.skip_reason) for tick in ended if tick.status is TickStatus.SKIPPED]
    assert all(any(f"{name}: " in each for each in said) for name in world.bad), said
    assert seen_whole_at(instance, hourly) == seen_at, "a source was listed before its interval was over"
    assert hourly not in items_of(world.pipeline)


def shared_account(world: Sources, azurite: Azurite, folder: Path, *, good: int) -> FlakyProxy:
    """One account: a silent container, a dripping one, one that resets, one that is missing, and good ones."""
    proxy = FlakyProxy(azurite.port)
    proxy.containers = {"silent": "silent", "drip": "drip", "drip-head": "drip_head", "reset": "reset"}
    through = azurite.connection_string.replace(f":{azurite.port}/", f":{proxy.port}/")
    world.environment = {"AZURE_STORAGE_CONNECTION_STRING": through, "direct": azurite.connection_string}
    bad = {name: f"az://{name}" for name in [*proxy.containers, "missing"]}
    declare(world, folder, bad=bad, good=good, containers=good // 2)
    return proxy


@pytest.fixture
def world(dagster_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Sources:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", dagster_pipeline.database_url)
    return Sources(dagster_pipeline, {})


def keep_interval(world: Sources) -> None:
    """Have the first good source listed hourly."""
    name = next(iter(world.good))
    place = world.good[name]
    world.pipeline.declare(place.as_uri() if isinstance(place, Path) else f"az://{place}", name=name, relist="1h")


def test_containers_that_never_answer_are_missing_or_reset_keep_no_source_waiting(
    world: Sources, azurite: Azurite, tmp_path: Path
) -> None:
    report: list[str] = []
    with shared_account(world, azurite, tmp_path / "sources", good=21):
        keep_interval(world)
        with daemon(world, tmp_path / "home") as instance:
            check_that_none_notices(world, instance, together=2, within=ITEM_WITHIN_SECONDS, report=report)
    print("\n".join(report))  # noqa: T201


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-account.invalid"], ids=["refused", "gone"])
def test_an_account_that_refuses_or_is_gone_keeps_no_folder_waiting(world: Sources, tmp_path: Path, host: str) -> None:
    report: list[str] = []
    endpoint = f"http://{host}:{free_port()}/{AZURITE_ACCOUNT}"
    account = f"AccountName={AZURITE_ACCOUNT};AccountKey={AZURITE_KEY};BlobEndpoint={endpoint};"
    world.environment = {"AZURE_STORAGE_CONNECTION_STRING": account}
    bad = {f"{number}": f"az://container-{number}" for number in range(5)}
    declare(world, tmp_path / "sources", bad=bad, good=21)
    keep_interval(world)
    with daemon(world, tmp_path / "home") as instance:
        check_that_none_notices(world, instance, together=2, within=ITEM_WITHIN_SECONDS, report=report)
    print("\n".join(report))  # noqa: T201


@pytest.mark.parametrize("mode", ["silent", "drip"])
def test_a_run_against_a_store_that_never_answers_ends_in_minutes(
    pipeline: Pipeline, azurite: Azurite, container: ContainerClient, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    for number in range(60):
        container.upload_blob(f"{number}.tif", raster_bytes())
    pipeline.declare(f"az://{container.container_name}")
    with FlakyProxy(azurite.port) as proxy:
        through = azurite.connection_string.replace(f":{azurite.port}/", f":{proxy.port}/")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", through)
        assert pipeline.run("list_container").success
        proxy.containers[str(container.container_name)] = mode
        for job in ("list_container", "ingest_observed"):
            began = time.monotonic()
            failed = pipeline.run(job)
            print(f"{mode}: {job} took {time.monotonic() - began:.0f} s")  # noqa: T201
            assert time.monotonic() - began < RUN_ENDS_WITHIN_SECONDS
            assert not failed.success
            assert "storage_unavailable" in failure_text(failed)
    assert (pipeline.status().pending, pipeline.status().quarantined) == (60, 0)
