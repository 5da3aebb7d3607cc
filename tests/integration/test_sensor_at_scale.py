"""blob_sensor over a container of 20,000 blobs, with a tenth of the time it needs, and over 200 sources at once."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.storage.blob import BlobServiceClient

from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.sensors import blob as sensor_module
from geo_assets.storage import azure_blob_store
from tests.daemon import Daemon, observe_one_page
from tests.peers.virtual_container import CONTAINER, VirtualContainer
from tests.pipeline import SOURCE, Pipeline
from tests.services import Azurite

BLOBS, PAGE = 20_000, 1_000
MANY_SOURCES, BLOBS_EACH = 200, 50
TICK_WITHIN_SECONDS = 15.0
SHARDS = ["scenes/00000", "scenes/00001"]


@pytest.fixture(params=[[], SHARDS], ids=["whole", "in shards"])
def container(
    request: pytest.FixtureRequest, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VirtualContainer]:
    """The container, which is the source, in pages of a thousand; a look has time for two of them."""
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", PAGE)
    monkeypatch.setattr(azure_blob_store, "ATTEMPTS", 1)
    with VirtualContainer(BLOBS) as opened:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", opened.connection_string)
        pipeline.declare(f"az://{CONTAINER}", shards=request.param)
        yield opened


@pytest.fixture
def daemon(pipeline: Pipeline, container: VirtualContainer, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Ticks after a first listing, all of whose blobs have their item, and with time for one page each."""
    assert pipeline.run("list_container").success
    pipeline.query(
        "UPDATE ledger.blob SET described_etag = etag, described_reading = s.reading_digest, catalogued_etag = etag, "
        "catalogued_rule = s.rule_digest FROM ledger.source AS s WHERE s.source = blob.source RETURNING 1"
    )
    monkeypatch.setattr(sensor_module, "observe", observe_one_page)
    container.served.clear()
    return Daemon(pipeline)


def ticks_until_asked(daemon: Daemon, *, most: int = 60) -> int:
    """How many ticks it takes until a run is asked for."""
    for tick in range(1, most + 1):
        if daemon.requested():
            return tick
    raise AssertionError(f"no run was asked for in {most} ticks")


def test_an_empty_ledger_is_asked_for_with_the_first_page(pipeline: Pipeline, container: VirtualContainer) -> None:
    tick = Daemon(pipeline).tick()
    assert [request.partition_key for request in tick.run_requests or []] == [SOURCE]
    assert len(container.served) <= 2


def test_each_tick_goes_on_where_the_last_one_stopped(daemon: Daemon, container: VirtualContainer) -> None:
    seen: list[Any] = []
    for _ in range(20):
        assert daemon.requested() == {}
        seen.append(daemon.looked_at())
    assert seen == [*range(PAGE, BLOBS, PAGE), None]
    assert set(container.served) == set(range(0, BLOBS, PAGE))


def test_a_changed_blob_is_asked_for_in_the_tick_that_sees_it(daemon: Daemon, container: VirtualContainer) -> None:
    container.rewritten.add(5_500)
    assert ticks_until_asked(daemon) == 6


def test_a_deleted_blob_is_asked_for_in_the_tick_that_comes_to_the_end(
    daemon: Daemon, container: VirtualContainer
) -> None:
    container.gone.add(0)
    assert ticks_until_asked(daemon) == 20


def test_a_page_that_fails_costs_the_tick_and_not_the_look(
    pipeline: Pipeline, daemon: Daemon, container: VirtualContainer
) -> None:
    for _ in range(3):
        daemon.tick()
    container.fail_at_page = 4
    assert "storage_unavailable" in daemon.error()
    container.fail_at_page = None
    pipeline.execute("UPDATE ledger.source_trouble SET until = now()")
    assert daemon.requested() == {}
    assert daemon.looked_at() == 4 * PAGE


def test_a_marker_that_is_refused_has_the_look_start_over(daemon: Daemon, container: VirtualContainer) -> None:
    for _ in range(3):
        daemon.tick()
    container.refuses_markers = True
    assert "marker_refused" in str(daemon.tick().skip_message)
    assert daemon.looked_at() is None
    assert daemon.requested() == {}
    assert daemon.looked_at() == PAGE


@pytest.mark.soak
@pytest.mark.parametrize("place", ["folders", "containers"])
def test_two_hundred_sources_of_fifty_blobs_are_looked_at_in_a_tick(
    pipeline: Pipeline, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    fill_many(pipeline, azurite, tmp_path, place)
    daemon = Daemon(pipeline)
    for _ in range(2):
        began = time.monotonic()
        assert daemon.requested() == {}
        seconds = time.monotonic() - began
        print(f"{place}: {seconds:.1f} s")  # noqa: T201
        assert seconds < TICK_WITHIN_SECONDS
    assert str(daemon.tick().skip_message).count("nothing to do") == MANY_SOURCES


def fill_many(pipeline: Pipeline, azurite: Azurite, folder: Path, place: str) -> None:
    """Declare many sources, whose blobs the ledger has, with nothing left to do."""
    document: dict[str, dict[str, Any]] = {"sources": {}}
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        for number in range(MANY_SOURCES):
            name = f"source-{number:03d}"
            if place == "containers":
                container = service.create_container(f"{folder.name.replace('_', '-')[:30]}-{number:03d}")
                for blob in range(BLOBS_EACH):
                    container.upload_blob(f"{blob}.tif", b"x")
                url = f"az://{container.container_name}"
            else:
                (folder / name).mkdir()
                for blob in range(BLOBS_EACH):
                    (folder / name / f"{blob}.tif").write_bytes(b"x")
                url = (folder / name).as_uri()
            collection = {"id": name, "description": name}
            document["sources"][name] = {"url": url, "collection": collection}
    pipeline.sources_path.write_text(yaml.safe_dump(document))
    database = pipeline.database
    for source in SourcesFile(path=str(pipeline.sources_path)).all().values():
        with BlobStores().open(source) as store, database.listings.open_listing(source, run_id=None) as writer:
            for page in store.list_pages(""):
                writer.add_page(page)
            writer.finish(complete=True)
    pipeline.execute(
        "UPDATE ledger.blob SET described_etag = etag, described_reading = s.reading_digest, catalogued_etag = etag, "
        "catalogued_rule = s.rule_digest FROM ledger.source AS s WHERE s.source = blob.source"
    )
