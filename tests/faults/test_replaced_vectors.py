"""A replaced vector file: readers see table and item of one version at every moment, whatever is killed or fails."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.dagster_cli import DagsterCli
from tests.faults.killing import Moment
from tests.faults.test_vectors import write_points
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.waiting import wait_until

TABLE_AND_ITEM = """
SELECT
    (SELECT count(*) FROM vectors.a),
    (SELECT (content -> 'properties' ->> 'table:row_count')::bigint FROM pgstac.items),
    (SELECT content -> 'properties' ->> 'geo_assets:etag' FROM pgstac.items) = (SELECT etag FROM ledger.vector_table)
"""
WAITS_FOR_READERS = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'geo_assets tables' AND wait_event_type = 'Lock'
"""
REFUSE = """
CREATE FUNCTION pgstac.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no items today'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON pgstac.items FOR EACH ROW EXECUTE FUNCTION pgstac.refuse()
"""


@pytest.fixture
def file(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A file of 100 rows that is in its table and has its item."""
    path = tmp_path / "in" / "a.gpkg"
    write_points(path, 100)
    pipeline.declare((tmp_path / "in").as_uri(), tables={})
    assert pipeline.run("load_vectors").success
    assert pipeline.query(TABLE_AND_ITEM) == [(100, 100, True)]
    return path


@contextmanager
def watched(pipeline: Pipeline) -> Iterator[set[tuple[object, ...]]]:
    """All that a reader sees meanwhile, who looks again and again."""
    seen: set[tuple[object, ...]] = set()
    over = threading.Event()

    def watch() -> None:
        with psycopg.connect(pipeline.owner_url, autocommit=True) as connection:
            while not over.is_set():
                seen.update(connection.execute(TABLE_AND_ITEM).fetchall())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_no_reader_sees_the_item_of_another_version_than_the_table(pipeline: Pipeline, file: Path) -> None:
    write_points(file, 300)
    with watched(pipeline) as seen:
        assert pipeline.run("load_vectors").success
    assert seen == {(100, 100, True), (300, 300, True)}
    assert pipeline.database.census.take(SOURCE).green


@pytest.mark.soak
@pytest.mark.parametrize("number", [1, 2], ids=["after the first file", "after the second file"])
def test_after_kill_9_between_files_each_item_is_of_its_table(
    pipeline: Pipeline, file: Path, tmp_path: Path, number: int
) -> None:
    write_points(file.with_name("b.gpkg"), 50)
    assert pipeline.run("load_vectors").success
    for name in ("a", "b"):
        write_points(file.with_name(f"{name}.gpkg"), 300)
    cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})
    cli.kill_job_at("load_vectors", Moment("after", "geo_assets.vectors.tables:VectorTables.load", number))
    assert table_counts(pipeline) == {"vectors.a": (300, 300), "vectors.b": (300, 300) if number == 2 else (50, 50)}
    assert pipeline.run("load_vectors").success
    assert table_counts(pipeline) == {"vectors.a": (300, 300), "vectors.b": (300, 300)}
    pipeline.check_promise()


@pytest.mark.soak
def test_after_kill_9_while_the_swap_waits_table_and_item_are_the_old_ones(
    pipeline: Pipeline, file: Path, tmp_path: Path
) -> None:
    write_points(file, 300)
    cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})
    with psycopg.connect(pipeline.owner_url) as reader:
        reader.execute("SELECT FROM vectors.a LIMIT 1")
        worker = cli.start_job("load_vectors")
        wait_until(lambda: bool(pipeline.query(WAITS_FOR_READERS)), "while the swap waits for a reader", seconds=120)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.communicate()
    wait_until(lambda: not pipeline.query(WAITS_FOR_READERS), "when PostgreSQL has noticed")
    assert pipeline.query(TABLE_AND_ITEM) == [(100, 100, True)]
    assert pipeline.run("load_vectors").success
    assert pipeline.query(TABLE_AND_ITEM) == [(300, 300, True)]
    pipeline.check_promise()


def test_where_pgstac_takes_no_item_table_and_item_stay_the_old_ones(pipeline: Pipeline, file: Path) -> None:
    pipeline.execute(REFUSE)
    write_points(file, 300)
    result = pipeline.run("load_vectors")
    assert not result.success
    assert "no items today" in failure_text(result)
    assert pipeline.query(TABLE_AND_ITEM) == [(100, 100, True)]
    pipeline.execute("DROP TRIGGER refuse ON pgstac.items")
    assert pipeline.run("load_vectors").success
    assert pipeline.query(TABLE_AND_ITEM) == [(300, 300, True)]
    pipeline.check_promise()


def test_a_version_that_can_have_no_item_gets_its_reason_and_no_table(
    pipeline: Pipeline, file: Path, tmp_path: Path
) -> None:
    pipeline.declare((tmp_path / "in").as_uri(), tables={}, datetime=[{"name": r"(?P<date>\d{8})", "format": "%Y%m%d"}])
    write_points(file, 300)
    assert pipeline.run("load_vectors").success
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {"a.gpkg": "missing_datetime"}
    assert pipeline.query("SELECT to_regclass('vectors.a'), (SELECT count(*) FROM pgstac.items)") == [(None, 0)]
    pipeline.check_promise()
    pipeline.declare((tmp_path / "in").as_uri(), tables={})
    assert pipeline.run("load_vectors").success
    assert pipeline.query(TABLE_AND_ITEM) == [(300, 300, True)]
    pipeline.check_promise()


def test_a_patched_item_of_a_table_keeps_its_patch_and_awaits_nothing(pipeline: Pipeline, file: Path) -> None:
    pipeline.execute(
        "INSERT INTO ledger.item_patch (source, name, patch) VALUES "
        f"""('{SOURCE}', 'a.gpkg', '{{"title": "Wells"}}')"""
    )
    pipeline.execute("UPDATE ledger.blob SET patch_revision = patch_revision + 1, catalogued_rule = NULL")
    for rows in (100, 300):
        write_points(file, rows) if rows == 300 else None
        assert pipeline.run("load_vectors").success
        (title,) = pipeline.query("SELECT content -> 'properties' ->> 'title' FROM pgstac.items")
        assert title == ("Wells",)
        assert pipeline.status().pending == 0


def table_counts(pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """Rows of each table, and those that its item states."""
    items = pipeline.query(
        "SELECT content -> 'properties' ->> 'geo_assets:table', (content -> 'properties' ->> 'table:row_count')::bigint"
        " FROM pgstac.items"
    )
    return {table: (pipeline.query(f"SELECT count(*) FROM {table}")[0][0], stated) for table, stated in items}
