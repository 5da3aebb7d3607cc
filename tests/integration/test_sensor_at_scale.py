"""blob_sensor over a container of 20,000 blobs, with a tenth of the time it needs: it carries on from tick to tick."""

from collections.abc import Iterator
from typing import Any

import pytest

from geo_assets.resources import azure_blob_store
from geo_assets.sensors import blob as sensor_module
from tests.daemon import Daemon, observe_one_page
from tests.peers.virtual_container import CONTAINER, VirtualContainer
from tests.pipeline import SOURCE, Pipeline

BLOBS, PAGE = 20_000, 1_000
SHARDS = ["scenes/00000", "scenes/00001"]


@pytest.fixture(params=[[], SHARDS], ids=["whole", "in shards"])
def container(
    request: pytest.FixtureRequest, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> Iterator[VirtualContainer]:
    """The container, which is the source, in pages of a thousand; a look has time for two of them."""
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", PAGE)
    monkeypatch.setattr(azure_blob_store, "_ATTEMPTS", 1)
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
