"""Sources that cannot be looked at: what is remembered of each, when it is asked again, and that no other notices."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient
from click.testing import CliRunner

from geo_assets.cli.main import main
from geo_assets.sensors import blob
from geo_assets.sensors import blob as sensor_module
from geo_assets.sensors.blob import observe
from geo_assets.sources.trouble import Trouble
from tests.api_server import served, settings_of
from tests.daemon import Daemon
from tests.peers.flaky_proxy import FlakyProxy
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import Azurite

AWAY = "away"


@pytest.fixture
def elsewhere(pipeline: Pipeline, folder: Path, tmp_path: Path) -> Path:
    """A second source, before the first in sources.yaml, whose folder does not exist; where it would be."""
    pipeline.declare((tmp_path / "elsewhere").as_uri(), name=AWAY)
    return tmp_path / "elsewhere"


@pytest.fixture
def proxy(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """A store in front of Azurite, whose containers may behave each in its own way."""
    with FlakyProxy(azurite.port) as opened:
        there = azurite.connection_string.replace(f":{azurite.port}/", f":{opened.port}/")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", there)
        yield opened


def trouble_of(pipeline: Pipeline, source: str = AWAY) -> Trouble | None:
    return pipeline.database.sources.troubles().get(source)


def forget_pauses(pipeline: Pipeline) -> None:
    """Let the pause of every source in trouble be over."""
    pipeline.execute("UPDATE ledger.source_trouble SET until = now()")


def test_what_is_known_of_a_source_that_cannot_be_looked_at_is_in_the_ledger_until_it_can(
    pipeline: Pipeline, elsewhere: Path, daemon: Daemon
) -> None:
    assert list(daemon.requested()) == [SOURCE]
    first = trouble_of(pipeline)
    assert first is not None
    assert (first.times, first.code) == (1, "invalid_configuration")
    assert "is not a folder" in first.message
    forget_pauses(pipeline)
    daemon.tick()
    second = trouble_of(pipeline)
    assert second is not None
    assert (second.times, second.since) == (2, first.since)
    write_raster(elsewhere / "a.tif")
    forget_pauses(pipeline)
    assert list(daemon.requested()) == [AWAY]
    assert trouble_of(pipeline) is None


def test_a_source_in_trouble_is_asked_again_only_after_its_pause(
    pipeline: Pipeline, elsewhere: Path, daemon: Daemon
) -> None:
    daemon.tick()
    write_raster(elsewhere / "a.tif")
    tick = daemon.tick()
    assert not tick.run_requests
    assert "away: invalid_configuration" in str(tick.skip_message)
    assert "Failed 1 times in a row; next try at" in str(tick.skip_message)


def test_a_run_that_lists_the_source_ends_its_trouble(pipeline: Pipeline, elsewhere: Path, daemon: Daemon) -> None:
    daemon.tick()
    elsewhere.mkdir()
    assert pipeline.run("list_container", source=AWAY).success
    assert trouble_of(pipeline) is None


def test_beside_a_source_that_fails_for_ever_others_keep_their_interval(
    pipeline: Pipeline, elsewhere: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick that failed kept no cursor: past its interval every source was listed in each tick."""
    monkeypatch.setattr(sensor_module, "FIRST_PAUSE", timedelta(0))
    pipeline.declare((elsewhere.parent / "container").as_uri(), relist="1h")
    assert pipeline.run().success
    pipeline.execute("UPDATE ledger.listing SET finished_at = finished_at - interval '2 hours'")
    looked_at = []

    def counting(*arguments: object, **options: object) -> object:
        looked_at.append(arguments[0].name)  # type: ignore[attr-defined]
        return observe(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sensor_module, "observe", counting)
    for _ in range(4):
        assert AWAY in str(daemon.tick().skip_message)
    assert sorted(looked_at) == [AWAY] * 4 + [SOURCE]


def test_a_tick_fails_where_every_source_is_in_trouble_and_the_troubles_are_remembered(
    pipeline: Pipeline, elsewhere: Path, daemon: Daemon
) -> None:
    (elsewhere.parent / "container").rename(elsewhere.parent / "gone")
    for _ in range(2):
        said = daemon.error()
        assert f"{AWAY}: invalid_configuration" in said
        assert f"{SOURCE}: invalid_configuration" in said
    assert pipeline.database.sources.troubles().keys() == {AWAY, SOURCE}


def test_no_run_is_asked_for_of_a_store_that_does_not_answer(
    pipeline: Pipeline, container: ContainerClient, proxy: FlakyProxy, daemon: Daemon
) -> None:
    """Within its interval the ledger alone says what is to be done; the run would fail, and hold a place until then."""
    pipeline.declare(f"az://{container.container_name}", relist="1h")
    container.upload_blob("a.tif", b"no raster, but that is for a run to find")
    assert pipeline.run("list_container").success
    proxy.mode = "reset"
    assert "storage_unavailable" in daemon.error()
    assert trouble_of(pipeline, SOURCE) is not None
    proxy.mode = "up"
    forget_pauses(pipeline)
    assert list(daemon.requested()) == [SOURCE]


def test_stores_that_never_end_their_answers_hold_up_no_other_and_are_named(
    pipeline: Pipeline,
    folder: Path,
    proxy: FlakyProxy,
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    proxy.containers = {"silent": "silent", "drip": "drip", "drip-head": "drip_head"}
    for name in proxy.containers:
        pipeline.declare(f"az://{name}", name=name)
    pipeline.declare(folder.as_uri(), name="z")
    monkeypatch.setattr(blob, "SILENT_AFTER_SECONDS", 1.0)
    began = time.monotonic()
    assert daemon.requested().keys() == {SOURCE, "z"}
    assert time.monotonic() - began < 15
    said = capfd.readouterr().err
    assert all(f"{name}: " in said for name in proxy.containers)
    began = time.monotonic()
    told = str(daemon.tick().skip_message)
    assert time.monotonic() - began < 10
    assert all(f"{name}: storage_unavailable: The store " in told for name in proxy.containers), told
    assert pipeline.database.sources.troubles().keys() == proxy.containers.keys()


def test_a_source_in_trouble_is_shown_by_status_and_by_the_api(
    pipeline: Pipeline, elsewhere: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.tick()
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    text = CliRunner().invoke(main, ["status"]).stdout
    assert "Sources that cannot be listed" in text
    assert "invalid_configuration" in text
    with served(settings_of(pipeline.database_url, pipeline.sources_path)) as client:
        told = {each["source"]: each["trouble"] for each in client.get("/api/sources").json()["sources"]}
    as_json = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    for troubles in (told, {each["source"]: each["trouble"] for each in as_json}):
        assert troubles[SOURCE] is None
        assert (troubles[AWAY]["times"], troubles[AWAY]["code"]) == (1, "invalid_configuration")
        assert "is not a folder" in troubles[AWAY]["message"]
        assert "sources.yaml" in troubles[AWAY]["remedy"]
        assert datetime.fromisoformat(troubles[AWAY]["until"]) > datetime.fromisoformat(troubles[AWAY]["since"])
