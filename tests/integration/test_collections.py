"""Collections by rule and by hand: what they state, what their items add, and deleting them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster

STATED: dict[str, Any] = {
    "id": SOURCE,
    "title": "Rasters",
    "description": "Test rasters",
    "license": "CC0-1.0",
    "keywords": ["test"],
    "providers": [{"name": "Us", "roles": ["producer", "host"], "url": "https://us.example"}],
    "links": [{"rel": "license", "href": "https://us.example/licence", "title": "Licence"}],
    "item_assets": {"data": {"title": "The raster"}, "thumbnail": {"type": "image/png"}},
    "renders": {"default": {"assets": ["data"], "rescale": [[0, 100]]}},
}


@pytest.fixture
def declared(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The three rasters of the folder, not catalogued yet; the environment names the catalogue."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    return pipeline


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def printed(*arguments: str) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_collection_states_what_its_rule_states(declared: Pipeline, folder: Path) -> None:
    declared.declare(folder.as_uri(), collection=STATED)
    assert declared.run().success
    collection = printed("collections", "show", SOURCE)
    for key, value in STATED.items():
        assert collection[key] == value, key
    assert collection["stac_extensions"] == ["https://stac-extensions.github.io/render/v2.0.0/schema.json"]


def test_summaries_follow_the_items_there_are(declared: Pipeline, folder: Path) -> None:
    write_raster(folder / "other.tif", value=9, crs="EPSG:32634", dtype="uint8")
    assert declared.run().success
    summaries = printed("collections", "show", SOURCE)["summaries"]
    assert summaries["proj:code"] == ["EPSG:32633", "EPSG:32634"]
    assert {band["data_type"] for band in summaries["bands"]} == {"uint16", "uint8"}
    (folder / "other.tif").unlink()
    assert declared.run().success
    summaries = printed("collections", "show", SOURCE)["summaries"]
    assert summaries["proj:code"] == ["EPSG:32633"]
    assert {band["data_type"] for band in summaries["bands"]} == {"uint16"}
    assert declared.run().success
    assert printed("collections", "show", SOURCE)["summaries"] == summaries


def test_item_assets_add_nothing_to_an_item(declared: Pipeline, folder: Path) -> None:
    assert declared.run().success
    before = declared.items()
    declared.declare(folder.as_uri(), collection=STATED)
    assert declared.run().success
    assert {name: item["assets"] for name, item in declared.items().items()} == {
        name: item["assets"] for name, item in before.items()
    }


def test_a_collection_is_updated_without_a_run(declared: Pipeline, folder: Path) -> None:
    assert declared.run().success
    declared.declare(folder.as_uri(), collection={**STATED, "item_assets": {}, "title": "New"})
    assert run("collections", "update", SOURCE).exit_code == 0
    collection = printed("collections", "show", SOURCE)
    assert (collection["title"], collection["summaries"]["proj:code"]) == ("New", ["EPSG:32633"])
    (row,) = printed("collections", "list", "--json")
    assert (row["id"], row["items"], row["sources"], row["protected"]) == (SOURCE, 3, [SOURCE], False)


def test_a_collection_with_items_goes_only_with_them_and_comes_back_with_the_next_run(declared: Pipeline) -> None:
    assert declared.run().success
    refused = run("collections", "delete", SOURCE)
    assert refused.exit_code == 1
    assert "has 3 items" in refused.stderr
    assert len(declared.items()) == 3
    assert run("collections", "delete", SOURCE, "--with-items").exit_code == 0
    assert declared.query("SELECT count(*) FROM pgstac.items") == [(0,)]
    assert printed("collections", "list", "--json") == []
    assert declared.run().success
    assert len(declared.items()) == 3
    declared.check_promise()


def test_a_protected_collection_and_its_items_are_refused_deletion(declared: Pipeline, folder: Path) -> None:
    declared.declare(folder.as_uri(), collection={**STATED, "item_assets": {}, "protected": True})
    assert declared.run().success
    for command in (("collections", "delete", SOURCE, "--with-items"), ("items", "delete", SOURCE, "scene_1")):
        refused = run(*command)
        assert refused.exit_code == 1
        assert "is protected by source rasters" in " ".join(refused.stderr.split())
    assert len(declared.items()) == 3


def test_an_item_is_shown_and_deleted_and_comes_back_with_the_next_run(declared: Pipeline) -> None:
    assert declared.run().success
    before = printed("items", "show", SOURCE, "scene_1")
    assert before["properties"]["geo_assets:blob"] == "scene_1.tif"
    assert run("items", "delete", SOURCE, "scene_1").exit_code == 0
    assert run("items", "show", SOURCE, "scene_1").exit_code == 1
    assert run("items", "delete", SOURCE, "scene_1").exit_code == 1
    assert declared.run().success
    assert printed("items", "show", SOURCE, "scene_1") == before
    declared.check_promise()


def test_properties_of_our_items_are_queryables(declared: Pipeline) -> None:
    assert run("collections", "update", SOURCE).exit_code == 0
    with declared.database.connections.connect() as connection:
        row = connection.execute("SELECT get_queryables(%s::text) AS queryables", [SOURCE]).fetchone()
    assert row is not None
    properties = row["queryables"]["properties"]
    types = {name: properties[name]["type"] for name in ("proj:code", "gsd", "geo_assets:blob")}
    assert types == {"proj:code": "string", "gsd": "number", "geo_assets:blob": "string"}
