"""Listings of many pages against a container of 20,000 blobs: going on, starting over, shards, and ticks that go on."""

from collections.abc import Iterator
from typing import Any

import pytest

from geo_assets.ledger import listings as ledger_listing
from geo_assets.storage import azure_blob_store
from tests.peers.virtual_container import CONTAINER, VirtualContainer, blob_name
from tests.pipeline import Pipeline, failure_text

BLOBS, PAGE = 20_000, 1_000


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualContainer]:
    """The container, in pages of a thousand, whose faults are not waited for."""
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", PAGE)
    monkeypatch.setattr(azure_blob_store, "ATTEMPTS", 1)
    with VirtualContainer(BLOBS) as opened:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", opened.connection_string)
        yield opened


@pytest.fixture
def listed(pipeline: Pipeline, container: VirtualContainer) -> Pipeline:
    """A pipeline whose source is the container, after a first listing."""
    pipeline.declare(f"az://{CONTAINER}")
    assert counts_of_run(pipeline) == (BLOBS, 0, 0, 0)
    container.served.clear()
    return pipeline


def counts_of_run(pipeline: Pipeline) -> tuple[Any, ...]:
    """(new, changed, deleted, unchanged) of a listing run now."""
    result = pipeline.run("list_container")
    assert result.success, failure_text(result)
    (event,) = result.get_asset_materialization_events()
    values = event.materialization.metadata
    figures = [values[name].value for name in ("new", "changed", "deleted", "unchanged")]
    new, changed, deleted, unchanged = (int(str(figure)) for figure in figures)
    return new, changed, deleted, unchanged


def failure_of_run(pipeline: Pipeline) -> str:
    """What a listing run now fails with."""
    result = pipeline.run("list_container")
    assert not result.success
    return failure_text(result)


def listings(pipeline: Pipeline, columns: str) -> list[tuple[Any, ...]]:
    """Columns of the ledger's listings, oldest first."""
    return pipeline.query(f"SELECT {columns} FROM ledger.listing ORDER BY id")


def deleted_names(pipeline: Pipeline) -> set[str]:
    return {name for (name,) in pipeline.query("SELECT name FROM ledger.blob WHERE deleted_at IS NOT NULL")}


def test_a_listing_that_failed_goes_on_after_its_last_page(pipeline: Pipeline, container: VirtualContainer) -> None:
    pipeline.declare(f"az://{CONTAINER}")
    container.fail_at_page = 8
    assert "storage_unavailable" in failure_of_run(pipeline)
    assert pipeline.status().blobs == 7 * PAGE
    container.fail_at_page = None
    container.served.clear()
    assert counts_of_run(pipeline) == (BLOBS, 0, 0, 0)
    assert container.served == list(range(7 * PAGE, BLOBS, PAGE))
    assert listings(pipeline, "new, changed, deleted, unchanged, complete") == [(BLOBS, 0, 0, 0, True)]


def test_a_resumed_listing_tells_apart_what_each_run_saw_and_deletes_only_what_neither_did(
    listed: Pipeline, container: VirtualContainer
) -> None:
    container.gone |= {5, 9_000, 19_999}
    container.rewritten |= {7, 15_000}
    container.fail_at_page = 11
    assert "storage_unavailable" in failure_of_run(listed)
    assert deleted_names(listed) == set()
    # Before the other run goes on: a blob it has passed is deleted, another comes to be there through an event.
    container.gone.add(20)
    listed.query(
        "INSERT INTO ledger.blob (source, name, etag, size_bytes, last_modified) "
        "VALUES ('rasters', 'scenes/000000/0 early.tif', '1', 1, now()) RETURNING 1"
    )
    container.fail_at_page = None
    assert counts_of_run(listed) == (0, 2, 3, BLOBS - 5)
    assert deleted_names(listed) == {blob_name(number) for number in (5, 9_000, 19_999)}
    assert counts_of_run(listed) == (0, 0, 2, BLOBS - 4)


def test_a_listing_is_not_gone_on_with_under_other_globs(listed: Pipeline, container: VirtualContainer) -> None:
    container.fail_at_page = 3
    failure_of_run(listed)
    container.fail_at_page = None
    container.served.clear()
    listed.declare(f"az://{CONTAINER}", exclude=["scenes/000001/**"])
    assert counts_of_run(listed) == (0, 0, 1_000, BLOBS - 1_000)
    assert container.served[0] == 0
    assert listings(listed, "complete, unchanged, finished_at IS NULL")[1:] == [
        (False, 2 * PAGE, False),
        (True, BLOBS - 1_000, False),
    ]


def test_a_listing_that_began_too_long_ago_starts_over(
    listed: Pipeline, container: VirtualContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.fail_at_page = 3
    failure_of_run(listed)
    container.fail_at_page = None
    container.served.clear()
    monkeypatch.setattr(ledger_listing, "RESUME_FOR", ledger_listing.RESUME_FOR * 0)
    assert counts_of_run(listed) == (0, 0, 0, BLOBS)
    assert container.served[0] == 0
    assert listed.query("SELECT count(*) FROM ledger.listing_page") == [(0,)]


def test_a_store_that_refuses_the_marker_has_the_next_run_start_over(
    listed: Pipeline, container: VirtualContainer
) -> None:
    container.fail_at_page = 3
    failure_of_run(listed)
    container.fail_at_page, container.refuses_markers = None, True
    assert "marker_refused" in failure_of_run(listed)
    container.refuses_markers = False
    container.served.clear()
    assert counts_of_run(listed) == (0, 0, 0, BLOBS)
    assert container.served[0] == 0


def test_a_listing_over_nothing_new_writes_nothing_but_its_own_row(listed: Pipeline) -> None:
    rows = "SELECT sum(hashtextextended(xmin || ' ' || name, 0)::numeric) FROM ledger.blob"
    before = listed.query(rows)
    assert counts_of_run(listed) == (0, 0, 0, BLOBS)
    assert listed.query(rows) == before
    assert listed.query("SELECT count(*) FROM ledger.listing_page") == [(0,)]
    assert len(listings(listed, "id")) == 2


def test_a_limit_counts_what_an_earlier_run_listed(pipeline: Pipeline, container: VirtualContainer) -> None:
    pipeline.declare(f"az://{CONTAINER}", limit=2_500)
    container.fail_at_page = 2
    failure_of_run(pipeline)
    container.fail_at_page = None
    assert counts_of_run(pipeline) == (2_500, 0, 0, 0)
    assert listings(pipeline, "complete, finished_at IS NULL") == [(False, False)]


def test_what_was_passed_over_is_counted_once_over_all_runs(pipeline: Pipeline, container: VirtualContainer) -> None:
    pipeline.declare(f"az://{CONTAINER}", include=["scenes/000000/*"])
    container.fail_at_page = 6
    failure_of_run(pipeline)
    container.fail_at_page = None
    (event,) = pipeline.run("list_container").get_asset_materialization_events()
    assert event.materialization.metadata["ignored_blobs"].value == BLOBS - 1_000


SHARDS = ["00000", "00001"]  # folders 000000 to 000009, and 000010 to 000019


def test_shards_are_listed_one_by_one_and_hold_the_source(pipeline: Pipeline, container: VirtualContainer) -> None:
    pipeline.declare(f"az://{CONTAINER}/scenes", shards=SHARDS)
    assert counts_of_run(pipeline) == (BLOBS, 0, 0, 0)
    assert listings(pipeline, "shard, new, complete") == [("00000", 10_000, True), ("00001", 10_000, True)]
    container.gone |= {1, 10_001, 10_002}
    assert counts_of_run(pipeline) == (0, 0, 3, BLOBS - 3)
    assert listings(pipeline, "shard, deleted")[2:] == [("00000", 1), ("00001", 2)]


def test_a_run_goes_on_in_the_shard_where_another_failed_before_it_lists_the_rest_again(
    pipeline: Pipeline, container: VirtualContainer
) -> None:
    pipeline.declare(f"az://{CONTAINER}/scenes", shards=SHARDS)
    counts_of_run(pipeline)
    container.fail_at_page = 4
    failure_of_run(pipeline)
    container.fail_at_page = None
    container.served.clear()
    counts_of_run(pipeline)
    assert container.served[:2] == [3 * PAGE, 4 * PAGE]
    assert container.served[7] == 10_000


def test_a_blob_outside_the_shards_fails_the_run_that_listed_them_and_is_named(
    pipeline: Pipeline, container: VirtualContainer
) -> None:
    container.blobs += 500
    pipeline.declare(f"az://{CONTAINER}/scenes", shards=SHARDS)
    assert "outside its shards: scenes/000020/" in failure_of_run(pipeline)
    assert pipeline.status().blobs == BLOBS
    pipeline.declare(f"az://{CONTAINER}/scenes", shards=SHARDS, exclude=["000020/**"])
    assert counts_of_run(pipeline) == (0, 0, 0, BLOBS)


def test_what_the_ledger_has_outside_new_shards_is_gone_once_the_container_has_it_no_more(
    pipeline: Pipeline, container: VirtualContainer
) -> None:
    pipeline.declare(f"az://{CONTAINER}/scenes")
    counts_of_run(pipeline)
    container.blobs = 10_000
    pipeline.declare(f"az://{CONTAINER}/scenes", shards=["00000"])
    assert counts_of_run(pipeline) == (0, 0, 10_000, 10_000)
