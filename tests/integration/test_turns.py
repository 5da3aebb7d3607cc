"""One run at a time works on a source, with a Dagster instance that has no limits.

Here: runs at once in threads and processes of their own. Not here: the keys of locks (`tests.unit.test_locks`).
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import ExecuteInProcessResult

from geo_assets.errors import SourceBusy
from geo_assets.ledger import sources
from geo_assets.postgres.locks import Lock, holders
from geo_assets.resources.stores import BlobStores
from tests.dagster_cli import DagsterCli
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import write_raster
from tests.waiting import wait_until


class HeldStores(BlobStores):
    """Blob stores that let a run go on when the test does."""

    @contextmanager
    def open(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        assert GO_ON.wait(60)
        with super().open(*arguments, **options) as store:
            yield store


GO_ON = threading.Event()


@pytest.fixture
def folder(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A folder of two rasters, which is two sources."""
    folder = tmp_path / "source"
    for name in ("a.tif", "b.tif"):
        write_raster(folder / name)
    pipeline.declare(folder.as_uri())
    pipeline.declare(folder.as_uri(), name="other")
    return folder


@pytest.fixture
def first(pipeline: Pipeline, folder: Path) -> Iterator["Future[ExecuteInProcessResult]"]:
    """A run of the source that works on it until `GO_ON` is set."""
    GO_ON.clear()
    held = Pipeline(pipeline.database_url, pipeline.sources_path, pipeline.instance, {"blob_stores": HeldStores()})
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(held.run)
        try:
            wait_until(lambda: bool(names_of_holders(pipeline)), "a run holds the source")
            yield run
        finally:
            GO_ON.set()


def names_of_holders(pipeline: Pipeline) -> list[str | None]:
    with psycopg.connect(pipeline.database_url) as connection:
        return [each.name for each in holders(connection, Lock.SOURCE, SOURCE)]


def test_a_second_run_says_who_works_on_the_source_and_since_when(
    pipeline: Pipeline, first: "Future[ExecuteInProcessResult]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PATIENCE_SECONDS", 0.2)
    for job in ("ingest_rasters", "ingest_observed", "make_cogs", "reconcile", "snapshot"):
        second = pipeline.run(job)
        assert not second.success
        assert "source_busy: run " in failure_text(second)
    assert pipeline.run(source="other").success
    GO_ON.set()
    done = first.result(60)
    assert done.success, failure_text(done)
    assert f"run {done.run_id} has been working on source {SOURCE} since 20" in failure_text(second)
    assert pipeline.run().success
    pipeline.check_promise()


def test_a_second_run_waits_a_moment_for_the_first_to_end(
    pipeline: Pipeline, first: "Future[ExecuteInProcessResult]"
) -> None:
    threading.Timer(1, GO_ON.set).start()
    second = pipeline.run()
    assert second.success, failure_text(second)
    assert first.result(60).success
    pipeline.check_promise()


def test_a_killed_run_lets_go_of_its_source(
    pipeline: Pipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})
    with cli.start_job("ingest_rasters") as worker:
        wait_until(lambda: bool(names_of_holders(pipeline)), "a run holds the source")
        os.killpg(worker.pid, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(sources, "PATIENCE_SECONDS", 0.2)
            assert "source_busy" in failure_text(pipeline.run())
        os.killpg(worker.pid, signal.SIGKILL)
    after = pipeline.run()
    assert after.success, failure_text(after)
    pipeline.check_promise()


def test_all_processes_of_a_run_share_its_turn(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENCE_SECONDS", 0.2)
    one, another, stranger = pipeline.database, pipeline.database, pipeline.database
    one.take_turn(SOURCE, run_id="run")
    another.take_turn(SOURCE, run_id="run")
    one.end_turns("run")
    with pytest.raises(SourceBusy, match="run run has been working on source rasters since"):
        stranger.take_turn(SOURCE, run_id="stranger")
    another.end_turns("run")
    stranger.take_turn(SOURCE, run_id="stranger")
    stranger.end_turns("stranger")


def test_a_run_whose_session_was_cut_finds_out_at_its_next_step(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PATIENCE_SECONDS", 0.2)
    cut, other = pipeline.database, pipeline.database
    cut.take_turn(SOURCE, run_id="cut")
    cutting = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '%run cut'"
    pipeline.execute(cutting)
    other.take_turn(SOURCE, run_id="other")
    with pytest.raises(SourceBusy, match="run other"):
        cut.take_turn(SOURCE, run_id="cut")
    other.end_turns("other")
    cut.take_turn(SOURCE, run_id="cut")
    cut.end_turns("cut")
