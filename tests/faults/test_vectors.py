"""Loading vectors, killed, out of disk and overwritten meanwhile: nothing half-published, and the next run finishes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely

from geo_assets.models import BlobRef
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import RANGE_BYTES, BlobStore
from tests.dagster_cli import DagsterCli
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.small_disks import files_of_at_most
from tests.waiting import wait_until

LOADING = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'geo_assets tables' AND backend_xid IS NOT NULL"
)
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('vectors') AND relkind = 'r'"


def write_points(path: Path, rows: int, *, value: int = 0) -> None:
    """A GeoPackage of so many points, about 100 bytes each."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    places = np.arange(rows) % 360 - 179.5
    wkb = shapely.to_wkb(shapely.points(places, places / 3))
    values = [np.full(rows, value), np.full(rows, "some text of a feature", dtype=object)]
    pyogrio.raw.write(
        path, wkb, values, ["value", "text"], geometry_type="Point", crs="EPSG:4326", driver="GPKG", SPATIAL_INDEX="NO"
    )


@pytest.mark.soak
def test_after_kill_9_amid_the_copy_no_table_is_there_and_the_next_run_finishes(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    write_points(tmp_path / "in" / "a.gpkg", 300_000)
    pipeline.declare((tmp_path / "in").as_uri(), tables={})
    cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})
    worker = cli.start_job("load_vectors")
    wait_until(lambda: bool(pipeline.query(LOADING)), "while copying")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()
    wait_until(lambda: not pipeline.query(LOADING), "when PostgreSQL has noticed")
    assert pipeline.query(TABLES) == []
    assert pipeline.query("SELECT FROM ledger.vector_table") == []
    status, output = cli.run_job("load_vectors")
    assert status == 0, output
    assert pipeline.query("SELECT count(*) FROM vectors.a") == [(300_000,)]
    pipeline.check_promise()


def test_a_full_disk_fails_the_run_and_leaves_the_old_table(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "in" / "a.gpkg"
    write_points(file, 100)
    pipeline.declare((tmp_path / "in").as_uri(), tables={})
    assert pipeline.run("load_vectors").success
    write_points(file, 20_000, value=1)
    with files_of_at_most(1_000_000):
        result = pipeline.run("load_vectors")
    assert not result.success
    assert "scratch_full" in failure_text(result)
    assert pipeline.query("SELECT count(*), max(value) FROM vectors.a") == [(100, 0)]
    assert pipeline.run("load_vectors").success
    assert pipeline.query("SELECT count(*), max(value) FROM vectors.a") == [(20_000, 1)]


def test_a_file_that_is_overwritten_while_it_is_read_keeps_its_old_table(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "in" / "a.gpkg"
    write_points(file, 100)
    pipeline.declare((tmp_path / "in").as_uri(), tables={})
    assert pipeline.run("load_vectors").success
    write_points(file, 150_000, value=1)
    pipeline.overrides["blob_stores"] = Overwriting()
    assert pipeline.run("load_vectors").success
    assert pipeline.failures()["a.gpkg"].code == "blob_changed"
    del pipeline.overrides["blob_stores"]
    assert pipeline.run("load_vectors").success
    assert pipeline.query("SELECT count(*), min(value), max(value) FROM vectors.a") == [(150_000, 2, 2)]
    pipeline.check_promise(SOURCE)


class Overwriting(BlobStores):
    """The real stores; before the second range of a file is read, somebody overwrites it."""

    @contextmanager
    def open(self, source: Source, **options: Any) -> Iterator[BlobStore]:
        """The store of ``source``, whose second read follows an overwrite."""
        with super().open(source, **options) as store:
            read = store.read_range

            def overwritten(blob: BlobRef, offset: int, length: int) -> bytes:
                if offset == RANGE_BYTES:
                    write_points(Path(source.folder or "") / blob.name, 150_000, value=2)
                return read(blob, offset, length)

            store.read_range = overwritten  # type: ignore[method-assign]
            yield store
