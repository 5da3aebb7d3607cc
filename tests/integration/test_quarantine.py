"""The quarantine by the command line, and what brings a blob out of it: a replay, a new version, a new rule."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from geo_assets.errors import Corrupt
from geo_assets.ledger.decisions import QuarantineFilter
from geo_assets.models import Failure
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from tests.ledgers import SOURCE as LANDSAT
from tests.ledgers import blob, counts, fail, listed
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster


@pytest.fixture
def quarantined(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Three items, and a quarantine of two files that are no rasters and one without a CRS."""
    for name in ("a/text.tif", "b/text.tif"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("no raster")
    write_raster(folder / "b" / "nowhere.tif", crs=None)
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    assert pipeline.run().success
    return pipeline


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["quarantine", *arguments], catch_exceptions=False)


def printed(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_has_each_blob_its_reason_and_the_counts(quarantined: Pipeline) -> None:
    listed_blobs = printed("list")
    assert [blob["name"] for blob in listed_blobs["blobs"]] == ["a/text.tif", "b/nowhere.tif", "b/text.tif"]
    assert {(row["code"], row["blobs"]) for row in listed_blobs["counts"]} == {("not_a_raster", 2), ("missing_crs", 1)}
    assert "missing_crs" in run("list", SOURCE).stdout


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--code", "not_a_raster"), {"a/text.tif", "b/text.tif"}),
        (("--prefix", "b/"), {"b/text.tif", "b/nowhere.tif"}),
        ((SOURCE, "--prefix", "b/", "--code", "not_a_raster"), {"b/text.tif"}),
        (("--code", "corrupt"), set()),
    ],
)
def test_list_and_replay_take_the_same_filters(
    quarantined: Pipeline, options: tuple[str, ...], names: set[str]
) -> None:
    assert {blob["name"] for blob in printed("list", *options)["blobs"]} == names
    assert printed("replay", *options) == {"replayed": len(names)}
    assert set(quarantined.failures()) == {"a/text.tif", "b/text.tif", "b/nowhere.tif"} - names
    assert quarantined.status().pending == len(names)


def test_a_replayed_blob_is_tried_once_more_and_its_history_stays(quarantined: Pipeline) -> None:
    assert printed("replay", "--all") == {"replayed": 3}
    assert quarantined.run().success
    quarantined.check_promise()
    explained = printed("explain", SOURCE, "b/nowhere.tif")
    assert (explained["state"], explained["code"]) == ("quarantined", "missing_crs")
    assert [(attempt["stage"], attempt["permanent"]) for attempt in explained["attempts"]] == [("catalogue", True)] * 2
    assert "CRS" in explained["remedy"]


def test_explain_says_what_the_code_means_and_what_to_do(quarantined: Pipeline) -> None:
    text = run("explain", SOURCE, "a/text.tif").stdout
    for words in (
        "a/text.tif: quarantined",
        "code: not_a_raster",
        "meaning: The bytes are not a raster",
        "remedy: Exclude",
    ):
        assert words in text


def test_explain_has_one_remedy_the_one_of_the_case(quarantined: Pipeline) -> None:
    name = "a/text.tif"
    version = replace(blob(name), etag=printed("explain", SOURCE, name)["etag"])
    special = Corrupt("A member is missing.", remedy="Upload the member.")
    source = SourcesFile(path=str(quarantined.sources_path)).get(SOURCE)
    quarantined.database.blobs.record_failures(source, [Failure.of(version, special)], stage="describe", run_id="run")
    explained = printed("explain", SOURCE, name)
    assert (explained["message"], explained["remedy"]) == ("A member is missing.", "Upload the member.")
    assert Corrupt.remedy not in run("explain", SOURCE, name).stdout
    (listed,) = [each for each in printed("list", SOURCE)["blobs"] if each["name"] == name]
    assert (listed["message"], listed["remedy"]) == ("A member is missing.", "Upload the member.")
    assert explained["attempts"][0]["remedy"] == "Upload the member."


def test_explain_of_a_blob_nobody_knows_says_so(quarantined: Pipeline) -> None:
    result = run("explain", SOURCE, "nosuch.tif")
    assert result.exit_code == 1
    assert "has no blob 'nosuch.tif'" in " ".join(result.stderr.split())


def test_replay_of_nothing_in_particular_is_refused(quarantined: Pipeline) -> None:
    assert run("replay").exit_code == 2
    assert quarantined.status().quarantined == 3


def test_a_rule_that_could_solve_it_replays_what_it_could_solve_and_no_more(catalogue: str) -> None:
    database = Database(database_url=catalogue)
    dateless, garbage = blob("dateless.tif"), blob("garbage.tif")
    listed(database, [dateless, garbage])
    fail(database, dateless, stage="catalogue", code="missing_datetime")
    fail(database, garbage, stage="describe", code="not_a_raster")
    assert counts(database) == {"blobs": 2, "quarantined": 2}
    database.sources.register(LANDSAT.model_copy(update={"item_id": "v2-{slug}"}))
    assert in_quarantine(database) == {"garbage.tif"}
    database.sources.register(LANDSAT.model_copy(update={"statistics": True}))
    assert in_quarantine(database) == {"dateless.tif"}


def in_quarantine(database: Database) -> set[str]:
    which = QuarantineFilter(source=LANDSAT.name)
    return {found.name for found in database.quarantine.blobs(which, most=10)}
