"""The boundary of a file: whatever work on one raises is its recorded reason, and the others are done."""

import errno
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from dagster import Definitions, ExecuteInProcessResult, in_process_executor
from PIL import Image
from rasterio.enums import ColorInterp

from geo_assets.assets.cogs import CogsStage
from geo_assets.assets.engine import build_stage_asset
from geo_assets.assets.raster_metadata import RasterMetadataStage
from geo_assets.assets.stac_items import ItemsStage
from geo_assets.assets.stage import Outcome, Stage, StageRun
from geo_assets.assets.vector_tables import VectorTablesStage
from geo_assets.cli.main import main
from geo_assets.cogs.writer import CogTask, make_cogs
from geo_assets.errors import Corrupt, DatabaseUnavailable
from geo_assets.ledger.cogs import StandingCog
from geo_assets.resources.stores import SilverStore
from geo_assets.sensors.alerts import find_troubles
from geo_assets.sources.source import load_sources
from geo_assets.storage.blob_stores import StoreAccess
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import write_raster
from tests.vectors import POINTS, write_vector

pytestmark = pytest.mark.usefixtures("silver")

ODD = "scene_1.tif"


def failing(base: type[Stage[Any, Any, Any]], error: Callable[[], BaseException], *, odd: str = ODD) -> Any:
    """A stage like ``base`` whose work raises at the unit ``odd``, after the outcomes of the units before it."""

    class Failing(base):  # type: ignore[misc, valid-type]
        def work(self, run: StageRun, units: Sequence[Any]) -> Generator[Outcome[Any, Any], None, None]:
            for unit in units:
                if unit.name == odd:
                    raise error()
                yield from super().work(run, [unit])

    return Failing()


def run_stage(pipeline: Pipeline, stage: Stage[Any, Any, Any]) -> ExecuteInProcessResult:
    """A run of the stage alone, in this process."""
    made = Definitions(
        assets=[build_stage_asset(stage)],
        resources={"silver_store": SilverStore(), **pipeline.resources()},
        executor=in_process_executor,
    )
    return made.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=pipeline.instance, tags={"dagster/partition": SOURCE}, raise_on_error=False
    )


def cogs(pipeline: Pipeline) -> dict[str, StandingCog]:
    return {cog.name: cog for cog in pipeline.database.cogs.standing(SOURCE)}


def broken() -> Exception:
    """An error of several lines that nobody foresaw."""
    return ZeroDivisionError("first line\nlast line")


def test_a_header_that_raises_has_its_reason_and_its_neighbours_have_items(pipeline: Pipeline, folder: Path) -> None:
    for number in range(3, 60):  # more than fifty share a batch
        write_raster(folder / f"scene_{number}.tif", value=number)
    assert pipeline.run("list_container").success
    for attempt in (1, 2, 3):
        assert run_stage(pipeline, failing(RasterMetadataStage, broken)).success
        failure = pipeline.failures()[ODD]
        assert (failure.code, failure.attempts, failure.permanent) == ("unforeseen", attempt, attempt == 3)
        assert "raised ZeroDivisionError: last line (geo_assets/assets/engine.py, line " in failure.message
        assert "first line" not in failure.message
    assert pipeline.run("ingest_observed").success
    assert len(pipeline.items()) == 59
    pipeline.check_promise()
    assert [each[0] for each in pipeline.query("SELECT permanent FROM ledger.failed_attempt ORDER BY id")] == [
        False,
        False,
        True,
    ]
    sources_file = pipeline.resources()["sources_file"]
    troubles = find_troubles(pipeline.instance, sources_file=sources_file, database=pipeline.database)
    (found,) = [each for each in troubles.findings if each.kind == "unforeseen"]
    assert (found.source, found.count) == (SOURCE, 1)
    assert ODD in found.what
    write_raster(folder / ODD, value=99)
    assert pipeline.run().success
    assert pipeline.failures() == {}
    assert pipeline.database.blobs.unforeseen() == []


def test_quarantine_lists_what_nobody_foresaw_and_a_replay_tries_it_again(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    pipeline.run("list_container")
    for _ in range(3):
        run_stage(pipeline, failing(RasterMetadataStage, broken))
    listed = CliRunner().invoke(main, ["quarantine", "list", SOURCE])
    assert (listed.exit_code, "unforeseen" in listed.output, ODD in listed.output) == (0, True, True)
    CliRunner().invoke(main, ["quarantine", "replay", SOURCE])
    assert pipeline.run("ingest_observed").success
    assert len(pipeline.items()) == 3


def test_a_file_that_raises_when_its_item_is_built_or_kept_costs_that_file_only(
    pipeline: Pipeline, folder: Path
) -> None:
    class Unkept(ItemsStage):
        def keep(self, run: StageRun, done: Any) -> Any:
            if any(unit.name == "scene_32.tif" for unit, _ in done):
                raise KeyError("no such key")
            return super().keep(run, done)

        def work(self, run: StageRun, units: Any) -> Any:
            return failing(ItemsStage, broken, odd="scene_31.tif").work(run, units)

    assert pipeline.run().success
    for number in range(3, 60):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.run("list_container")
    assert run_stage(pipeline, RasterMetadataStage()).success
    assert run_stage(pipeline, Unkept()).success
    failures = pipeline.failures()
    assert {name: failure.code for name, failure in failures.items()} == {
        "scene_31.tif": "unforeseen",
        "scene_32.tif": "unforeseen",
    }
    assert len(pipeline.items()) == 58
    assert pipeline.run("ingest_observed").success
    assert len(pipeline.items()) == 60


def test_a_catalogue_that_takes_no_item_is_no_files_own_reason(pipeline: Pipeline, folder: Path) -> None:
    for number in range(3, 60):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.run("list_container")
    assert run_stage(pipeline, RasterMetadataStage()).success
    result = run_stage(pipeline, ItemsStage())  # before anything made the collection
    assert not result.success
    assert "Collection rasters does not exist" in failure_text(result)
    assert {failure.code for failure in pipeline.failures().values()} == {"load_incomplete"}
    assert pipeline.run("ingest_observed").success
    assert len(pipeline.items()) == 60
    assert pipeline.failures() == {}


def test_two_of_one_batch_that_want_one_id_do_not_stop_the_batch(pipeline: Pipeline, folder: Path) -> None:
    for number in range(3, 60):
        write_raster(folder / f"scene_{number}.tif", value=number)
    write_raster(folder / "copy" / "scene_30.tif", value=9)
    pipeline.declare(folder.as_uri(), item_id="{stem}")
    assert pipeline.run().success
    assert len(pipeline.items()) == 60
    (failure,) = pipeline.failures().values()
    assert failure.code == "duplicate_item"
    pipeline.check_promise()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (lambda: DatabaseUnavailable("it is away."), "database_unavailable"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (MemoryError, "MemoryError"),
    ],
)
def test_what_is_no_files_own_stops_the_batch_and_keeps_what_was_done(
    pipeline: Pipeline, folder: Path, error: Callable[[], Exception], said: str
) -> None:
    for number in range(3, 60):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.run("list_container")
    result = run_stage(pipeline, failing(RasterMetadataStage, error))
    assert not result.success
    assert said in "\n".join(str(event) for event in result.get_step_failure_events())
    assert pipeline.failures() == {}
    described = {name for (name,) in pipeline.query("SELECT name FROM ledger.raster_metadata")}
    assert 0 < len(described) < 60
    assert pipeline.run("ingest_observed").success
    assert len(pipeline.items()) == 60


def test_a_cog_that_raises_has_its_reason_and_its_neighbours_have_theirs(pipeline: Pipeline, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    assert pipeline.run().success
    for attempt in (1, 2, 3):
        assert run_stage(pipeline, failing(CogsStage, broken)).success
        cog = cogs(pipeline)[ODD]
        assert (cog.error_code, cog.attempts, cog.permanent) == ("unforeseen", attempt, attempt == 3)
    assert {name for name, cog in cogs(pipeline).items() if cog.href} == {"scene_0.tif", "scene_2.tif"}
    assert pipeline.database.blobs.unforeseen()[0].files == 1
    assert pipeline.run("make_cogs").success
    assert "cog" in pipeline.items()["scene_0.tif"]["assets"]
    assert "cog" not in pipeline.items()[ODD]["assets"]


def test_a_vector_file_that_raises_has_its_reason_and_its_neighbours_have_items(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    write_vector(folder / "a.geojson", list(POINTS), driver="GeoJSON")
    pipeline.declare(folder.as_uri(), tables={"schema": "vectors"})
    assert pipeline.run("load_vectors").success
    for name in ("b", "c"):
        write_vector(folder / f"{name}.geojson", list(POINTS), driver="GeoJSON")
    assert pipeline.run("list_container").success
    for attempt in (1, 2, 3):
        assert run_stage(pipeline, failing(VectorTablesStage, AssertionError, odd="b.geojson")).success
        failure = pipeline.failures()["b.geojson"]
        assert (failure.code, failure.attempts, failure.permanent) == ("unforeseen", attempt, attempt == 3)
    assert set(pipeline.items()) == {"a.geojson", "c.geojson"}
    pipeline.check_promise()


def test_a_palette_raster_without_a_table_has_a_cog_and_a_picture_and_so_have_its_neighbours(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    write_raster(folder / "palette.tif", value=7, dtype="uint8")
    with rasterio.open(folder / "palette.tif", "r+") as raster:
        raster.colorinterp = [ColorInterp.palette]
    with rasterio.open(folder / "palette.tif") as raster, pytest.raises(ValueError, match="NULL color table"):
        raster.colormap(1)
    pipeline.declare(folder.as_uri(), cogs={})
    assert pipeline.run().success
    assert pipeline.run("make_cogs").success
    assert {name: cog.error_message for name, cog in cogs(pipeline).items()} == dict.fromkeys(
        ("palette.tif", "scene_0.tif", "scene_1.tif", "scene_2.tif")
    )
    made = tmp_path / "silver" / "cogs" / SOURCE
    with rasterio.open(made / "palette.tif") as cog:
        np.testing.assert_array_equal(cog.read(1), np.full((16, 16), 7, "uint8"))
    picture = np.asarray(Image.open(made / "palette.thumbnail.png"))
    assert (picture[..., 3] == 255).all()
    assert (picture[..., :3] == picture[0, 0, :3]).all()


def test_a_cog_that_cannot_be_made_leaves_nothing_where_the_process_was_started(
    pipeline: Pipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(1).integers(0, 60_000, (1024, 1024), dtype="uint16")
    path = write_raster(folder / "damaged.tif", size=1024, compress="deflate", tiled=True)
    with rasterio.open(path, "r+") as raster:
        raster.write(noise, 1)
    content = bytearray(path.read_bytes())
    content[500_000:1_500_000] = bytes(1_000_000)
    path.write_bytes(content)
    pipeline.declare(folder.as_uri(), cogs={})
    assert pipeline.run().success
    rule = load_sources(pipeline.sources_path)[SOURCE].cogs
    (etag,) = [etag for name, etag in pipeline.query("SELECT name, etag FROM ledger.blob") if name == path.name]
    found = pipeline.database.cogs.raster(SOURCE, path.name, etag)
    assert rule is not None
    assert found is not None
    for name in ("started", "task"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "started")
    task = CogTask(*found, tmp_path / "task", 1)
    (outcome,) = make_cogs(rule, StoreAccess(folder=folder), [task], lambda _: None)
    assert isinstance(outcome.result, Corrupt)
    assert [*(tmp_path / "started").iterdir(), *(tmp_path / "task").iterdir()] == []
