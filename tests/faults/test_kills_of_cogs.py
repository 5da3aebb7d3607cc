"""kill -9 amid publishing and removing COGs: the next run finishes, and no file in silver is without owner."""

from pathlib import Path

import pytest

from tests.dagster_cli import DagsterCli
from tests.faults.killing import Moment
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster

pytestmark = pytest.mark.soak  # of killed runs, `make test` has that of `test_killed_worker`

SILVER = "geo_assets.resources.stores:SilverStore"
LEDGER = "geo_assets.ledger.cogs:CogLedger"
COPY = "geo_assets.storage.local_blob_store:shutil.copyfileobj"
MOMENTS = {
    "before anything is published": Moment("before", f"{SILVER}.publish", 1),
    "during a thumbnail": Moment("after", COPY, 1),
    "between a thumbnail and its COG": Moment("after", f"{SILVER}.publish", 1),
    "during a COG": Moment("after", COPY, 2),
    "after a COG, before it is recorded": Moment("after", f"{SILVER}.publish", 2),
    "after a COG is recorded": Moment("after", f"{LEDGER}.record", 1),
    "between the next thumbnail and its COG": Moment("after", f"{SILVER}.publish", 3),
    "after the last COG is recorded": Moment("after", f"{LEDGER}.record", 2),
    "after the COG of a raster that is gone is forgotten": Moment("after", f"{LEDGER}.forget", 1),
    "after its first file is removed": Moment("after", f"{SILVER}.remove", 1),
}
GO = "the rasters go"


@pytest.fixture
def cli(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DagsterCli:
    """Three rasters with COGs, of which one is overwritten and one is gone, and a new one: all is listed, none made."""
    variables = {
        "GEO_ASSETS_SILVER": (tmp_path / "silver").as_uri(),
        "GEO_ASSETS_SCRATCH": str(tmp_path / "scratch"),
        "GEO_ASSETS_WORKERS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for number, name in enumerate(("stays", "overwritten", "gone")):
        write_raster(tmp_path / "in" / f"{name}.tif", value=number + 1)
    pipeline.declare((tmp_path / "in").as_uri(), cogs={}, deletions={"max_share": 1})
    assert pipeline.run().success
    assert pipeline.run("make_cogs").success
    write_raster(tmp_path / "in" / "overwritten.tif", value=9)
    write_raster(tmp_path / "in" / "new.tif", value=10)
    (tmp_path / "in" / "gone.tif").unlink()
    assert pipeline.run().success
    return DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, variables)


def assert_each_file_has_its_owner(pipeline: Pipeline, silver: Path) -> None:
    files = {path.as_uri() for path in silver.rglob("*") if path.is_file()}
    standing = pipeline.database.cogs.standing(SOURCE)
    recorded = {href for cog in standing for href in (cog.href, cog.thumbnail_href) if href}
    assets = [item["assets"] for item in pipeline.items().values()]
    told = {each[key]["href"] for each in assets for key in ("cog", "thumbnail") if key in each}
    assert files == recorded == told
    report = pipeline.database.census.take(SOURCE)
    assert report.green, report
    assert report.counts["pending"] == 0
    pipeline.check_promise()


@pytest.mark.parametrize("meanwhile", ["nothing happens", GO])
@pytest.mark.parametrize("moment", [pytest.param(moment, id=name) for name, moment in MOMENTS.items()])
def test_no_file_is_left_without_owner(
    pipeline: Pipeline, cli: DagsterCli, tmp_path: Path, moment: Moment, meanwhile: str
) -> None:
    cli.kill_job_at("make_cogs", moment)
    names = {"stays.tif", "new.tif", "overwritten.tif"}
    if meanwhile == GO:
        names = {"stays.tif"}
        for name in ("new", "overwritten"):
            (tmp_path / "in" / f"{name}.tif").unlink()
    assert pipeline.run().success
    result = pipeline.run("make_cogs")
    assert result.success
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "cogs_are_there"]
    assert check.passed
    assert set(pipeline.items()) == names
    assert_each_file_has_its_owner(pipeline, tmp_path / "silver")
