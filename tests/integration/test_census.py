"""The census: what it says of a sound catalogue and of damaged ones, and what mends them.

Not here: blobs that are opened again, of each kind of source (`test_agreement`).
"""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dagster import AssetCheckEvaluation, ExecuteInProcessResult

from geo_assets.cli.main import main
from tests.api_server import bearer, served, settings_of, with_keys
from tests.integration.test_api_ownership import collection, item
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster

# What breaks the catalogue, what the census calls it, and how often.
DAMAGE: dict[str, tuple[str, dict[str, int]]] = {
    "an item is gone": ("DELETE FROM pgstac.items WHERE id = 'scene_1'", {"missing": 1}),
    "an item is of another version": (
        "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,geo_assets:etag}', '\"old\"') "
        "WHERE id = 'scene_1'",
        {"stale": 1},
    ),
    "an item is of another blob": (
        "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,geo_assets:blob}', '\"scene_2.tif\"') "
        "WHERE id = 'scene_1'",
        {"stale": 1},
    ),
    "an item is there under another id too": (
        "INSERT INTO pgstac.items SELECT 'twin', geometry, collection, datetime, end_datetime, content, private "
        "FROM pgstac.items WHERE id = 'scene_1'",
        {"duplicate": 1},
    ),
    "an item is of no blob": (
        "INSERT INTO pgstac.items SELECT 'ghost', geometry, collection, datetime, end_datetime, "
        "jsonb_set(content, '{properties,geo_assets:blob}', '\"ghost.tif\"'), private "
        "FROM pgstac.items WHERE id = 'scene_1'",
        {"orphan": 1},
    ),
    "the ledger lost a blob": ("DELETE FROM ledger.blob WHERE name = 'scene_1.tif'", {"orphan": 1}),
    "the ledger lost an owner": ("DELETE FROM ledger.item WHERE name = 'scene_1.tif'", {"missing": 1, "orphan": 1}),
}


@pytest.fixture
def catalogued(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Three rasters with their items; the environment names the catalogue."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    monkeypatch.setenv("GEO_ASSETS_WORKERS", "1")
    assert pipeline.run().success
    return pipeline


def wrong(pipeline: Pipeline) -> dict[str, int]:
    """The kinds of findings there are, but what only waits."""
    return {str(kind): count for kind, count in pipeline.database.census.take(SOURCE).counts.items() if count}


def checks(result: ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_each_run_takes_the_census_and_reads_no_header_again(pipeline: Pipeline, folder: Path) -> None:
    (folder / "bad.tif").write_text("no raster")
    evaluations = checks(pipeline.run())
    assert {name: check.passed for name, check in evaluations.items()} == dict.fromkeys(
        (
            "blobs_have_items",
            "items_have_blobs",
            "items_have_sources",
            "items_are_claimed",
            "items_are_current",
            "items_are_unique",
        ),
        True,
    )
    assert {check.partition for check in evaluations.values()} == {SOURCE}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_mended_by_reconcile(catalogued: Pipeline, damage: str) -> None:
    before = catalogued.items()
    statement, found = DAMAGE[damage]
    catalogued.execute(statement)
    assert wrong(catalogued) == found
    result = catalogued.run("reconcile")
    assert result.success
    assert {name: check.passed for name, check in checks(result).items()} == dict.fromkeys(
        (
            "blobs_have_items",
            "items_have_blobs",
            "items_have_sources",
            "items_are_claimed",
            "items_are_current",
            "items_are_unique",
            "header_agreement",
        ),
        True,
    )
    assert catalogued.items() == before
    catalogued.check_promise()


def test_a_run_alone_does_not_mend_but_its_checks_say_what_is_wrong(catalogued: Pipeline) -> None:
    catalogued.execute(DAMAGE["an item is gone"][0])
    check = checks(catalogued.run())["blobs_have_items"]
    assert (check.passed, check.metadata["missing"].value) == (False, 1)
    assert check.metadata["for_example"].value == ["scene_1.tif"]


def test_repair_by_the_command_leaves_the_rest_to_the_next_run(catalogued: Pipeline) -> None:
    for damage in ("an item is gone", "an item is of no blob"):
        catalogued.execute(DAMAGE[damage][0].replace("WHERE id = 'scene_1'", "WHERE id = 'scene_2'"))
    # The second statement copied nothing, for its item was gone: an orphan needs another one.
    catalogued.execute(DAMAGE["an item is of no blob"][0])
    assert wrong(catalogued) == {"missing": 1, "orphan": 1}
    assert run("census").exit_code == 1
    repaired: list[dict[str, Any]] = json.loads(run("repair", SOURCE, "--json").stdout)
    assert repaired[0]["mended"] == {"to_catalogue": 1, "to_describe": 0, "withdrawn": 1}
    assert wrong(catalogued) == {"pending": 1}
    assert catalogued.run().success
    assert wrong(catalogued) == {}
    assert run("census").exit_code == 0


def test_a_ledger_that_lost_everything_does_not_cost_the_catalogue(catalogued: Pipeline, folder: Path) -> None:
    catalogued.declare(folder.as_uri(), deletions={"min_count": 0})
    catalogued.execute("DELETE FROM ledger.item")
    catalogued.execute("DELETE FROM ledger.raster_metadata")
    catalogued.execute("DELETE FROM ledger.blob")
    refused = run("repair", SOURCE)
    assert refused.exit_code == 1
    assert "deletions_held" in refused.stderr
    assert len(catalogued.query("SELECT id FROM pgstac.items")) == 3
    assert catalogued.run().success
    catalogued.check_promise()
    assert wrong(catalogued) == {}


def post_items(pipeline: Pipeline, *item_ids: str) -> None:
    """Items that no source made, as if they had come through the API."""
    for item_id in item_ids:
        pipeline.execute(
            f"INSERT INTO pgstac.items SELECT '{item_id}', geometry, collection, datetime, end_datetime, "
            "content #- '{properties,geo_assets:source}', private FROM pgstac.items WHERE id = 'scene_1'"
        )
        pipeline.execute(
            "INSERT INTO ledger.api_write (written_by, method, path, collection_id, item_id, correlation_id) "
            f"VALUES ('mallory', 'POST', '/', '{SOURCE}', '{item_id}', 'x')"
        )


def test_an_item_that_no_source_made_is_unclaimed_and_withdrawn_with_the_name_of_its_writer(
    catalogued: Pipeline,
) -> None:
    before = catalogued.items()
    post_items(catalogued, "foreign")
    assert wrong(catalogued) == {"unclaimed": 1}
    check = checks(catalogued.run())["items_are_claimed"]
    assert (check.passed, check.metadata["unclaimed"].value) == (False, 1)
    assert check.metadata["for_example"].value == {"foreign": "mallory"}
    found = run("census", SOURCE)
    assert found.exit_code == 1
    assert "unclaimed foreign (written by mallory)" in " ".join(found.stdout.split())
    assert catalogued.run("reconcile").success
    assert wrong(catalogued) == {}
    assert catalogued.query("SELECT count(*) FROM pgstac.items") == [(3,)]
    assert catalogued.items() == before


def test_unclaimed_items_are_under_the_rule_for_deletions(catalogued: Pipeline, folder: Path) -> None:
    catalogued.declare(folder.as_uri(), deletions={"min_count": 1, "max_share": 0.1})
    post_items(catalogued, "foreign_1", "foreign_2")
    refused = run("repair", SOURCE)
    assert (refused.exit_code, "deletions_held" in refused.stderr) == (1, True)
    assert "(written by: mallory 2)" in " ".join(refused.stderr.split())
    assert wrong(catalogued) == {"unclaimed": 2}
    assert run("repair", SOURCE, "--approve").exit_code == 0
    assert wrong(catalogued) == {}


def test_items_of_sources_that_share_a_collection_are_counted_once(catalogued: Pipeline, folder: Path) -> None:
    (folder.parent / "second").mkdir()
    write_raster(folder.parent / "second" / "other.tif")
    shared = {"id": SOURCE, "description": "Shared"}
    catalogued.declare((folder.parent / "second").as_uri(), name="zweite", collection=shared)
    assert catalogued.run(source="zweite").success
    post_items(catalogued, "foreign")
    # An orphan of the second source, which the first does not count as unclaimed.
    catalogued.execute(DAMAGE["an item is of no blob"][0])
    catalogued.execute(
        "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,geo_assets:source}', '\"zweite\"') "
        "WHERE id = 'ghost'"
    )
    counts = [catalogued.database.census.take(name, collection_id=SOURCE).counts for name in (SOURCE, "zweite")]
    assert [{kind: count for kind, count in each.items() if count} for each in counts] == [
        {"unclaimed": 1},
        {"orphan": 1},
    ]


def test_items_that_came_before_the_first_run_are_unclaimed_after_it(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    declared = pipeline.sources_path.read_text()
    pipeline.sources_path.write_text("sources: {}")
    settings = settings_of(pipeline.database_url, pipeline.sources_path, api_keys=with_keys())
    with served(settings) as client:
        client.headers.update(bearer("write"))
        assert client.post("/stac/collections", json=collection(SOURCE)).status_code == 201
        for item_id in ("scene_1", "foreign"):  # one that a blob will claim, and one that none will
            assert client.post(f"/stac/collections/{SOURCE}/items", json=item(item_id)).status_code == 201
        pipeline.sources_path.write_text(declared)
        assert client.post(f"/stac/collections/{SOURCE}/items", json=item("late")).status_code == 409
    found = json.loads(run("census", SOURCE, "--json", "--sample", "0").stdout)[0]
    assert found["counts"]["unclaimed"] == 2
    result = pipeline.run()
    assert result.success
    assert checks(result)["items_are_claimed"].passed is False
    assert wrong(pipeline) == {"unclaimed": 1}
    assert set(pipeline.items()) == {"scene_0.tif", "scene_1.tif", "scene_2.tif"}
    repaired = json.loads(run("repair", SOURCE, "--json").stdout)[0]
    assert repaired["mended"]["withdrawn"] == 1
    assert [each["written_by"] for each in repaired["findings"] if each["kind"] == "unclaimed"] == ["writeer"]
    assert wrong(pipeline) == {}
    pipeline.check_promise()


def test_blobs_that_await_their_turn_are_a_warning(catalogued: Pipeline, folder: Path) -> None:
    write_raster(folder / "later.tif", value=9)
    assert catalogued.run("list_container").success
    report = catalogued.database.census.take(SOURCE)
    assert (report.green, report.counts["pending"]) == (True, 1)
    assert run("census", SOURCE, "--sample", "0").exit_code == 0
