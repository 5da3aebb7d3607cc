"""What items say beyond their blob's present version: how often it was overwritten, and what people patch."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from geo_assets.resources.database import Database
from geo_assets.stac.extensions import EO_EXTENSION, VERSION_EXTENSION
from geo_assets.stac.remarks import NOTHING, PATCHED
from tests.ledgers import SOURCE as LANDSAT
from tests.ledgers import blob, counts, describe, listed, mark
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import raster_bytes, write_raster
from tests.unit.core.schemas import validate
from tests.vectors import POINTS, write_vector

Item = dict[str, Any]


REFUSED: list[tuple[Item, str]] = [
    ({"item": "scene_0", "properties": {"proj:code": "EPSG:1"}}, "line 2: proj:code is read from the blob"),
    ({"item": "scene_0", "properties": {"geo_assets:etag": "x"}}, "line 2: geo_assets:etag"),
    ({"item": "scene_0", "properties": {"datetime": "2020-01-01T00:00:00Z"}}, "line 2: datetime"),
    ({"item": "scene_0", "properties": {}}, "sets no property"),
    ({"item": "nosuch", "properties": {"a": 1}}, "line 2: rasters has no item nosuch"),
    ({"blob": "nosuch.tif", "properties": {"a": 1}}, "line 2: rasters has no blob nosuch.tif"),
    ({"blob": "scene_1.tif", "properties": {"a": 1}}, "an earlier line is of the item of blob scene_1.tif"),
    ({"item": "scene_0", "properties": {"gsd": -1}}, "line 2: item scene_0 would be invalid: $.properties.gsd"),
    ({"item": "scene_0", "blob": "scene_0.tif", "properties": {"a": 1}}, "line 2 names not one of blob and item"),
    ({"item": "scene_0", "properties": {"a": float("nan")}}, "line 2 is no JSON: NaN"),
]


REFUSED_OF_VECTORS: list[tuple[Item, str]] = [
    ({"item": "two", "properties": {"platform": "x"}}, "vectors has no item two"),
    ({"item": "(of the first layer)", "properties": {"platform": "x"}}, "is one of 2 items of blob two.gpkg"),
    ({"blob": "two.gpkg", "properties": {"table:row_count": 3}}, "read from the blob"),
    ({"blob": "two.gpkg", "properties": {"gsd": "wide"}}, "would be invalid"),
]


@pytest.fixture
def declared(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Three rasters of ten metres; the environment names the catalogue."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    monkeypatch.setenv("GEO_ASSETS_WORKERS", "1")
    pipeline.declare(folder.as_uri(), gsd=10)
    return pipeline


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def patched(tmp_path: Path, *entries: Item, source: str = SOURCE, accepted: bool = True) -> Result:
    """Hand these lines to `items patch`."""
    path = tmp_path / "patches.ndjson"
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    result = run("items", "patch", source, "--file", str(path))
    assert (result.exit_code == 0) == accepted, result.output
    return result


def properties(pipeline: Pipeline) -> dict[str, Item]:
    """The properties of the items, by blob; each item is valid."""
    items = pipeline.items()
    for item in items.values():
        validate(item)
    return {name: item["properties"] for name, item in items.items()}


def overwrite(path: Path, value: int) -> None:
    write_raster(path, value=value)
    moment = 1_800_000_000 + value
    os.utime(path, (moment, moment))


def test_items_state_their_version_and_their_patch(declared: Pipeline, folder: Path, tmp_path: Path) -> None:
    assert declared.run().success
    first = declared.items()
    assert not any("version" in item["properties"] for item in first.values())
    for entry, said in REFUSED:
        result = patched(tmp_path, {"item": "scene_1", "properties": {"a": 1}}, entry, accepted=False)
        assert said in " ".join(result.output.split()), result.output
    assert json.loads(run("items", "patches", SOURCE, "--json").stdout)["patches"] == []

    patched(
        tmp_path,
        {"item": "scene_0", "properties": {"platform": "landsat-9", "gsd": None, "eo:cloud_cover": 3}},
        {"blob": "scene_1.tif", "properties": {"deprecated": True}},
    )
    assert declared.items() == first
    assert declared.status().pending == 2
    overwrite(folder / "scene_2.tif", 7)
    assert declared.run().success
    found = properties(declared)
    patched_to = {"platform": "landsat-9", "gsd": None, "eo:cloud_cover": 3}
    assert {key: found["scene_0.tif"].get(key) for key in patched_to} == patched_to
    assert found["scene_0.tif"]["geo_assets:patched"] == ["eo:cloud_cover", "gsd", "platform"]
    assert EO_EXTENSION in declared.items()["scene_0.tif"]["stac_extensions"]
    assert found["scene_1.tif"]["deprecated"] is True
    assert found["scene_2.tif"]["version"] == "2"
    assert found["scene_2.tif"]["geo_assets:previous_etag"] == first["scene_2.tif"]["properties"]["geo_assets:etag"]
    listing = {name: VERSION_EXTENSION in item["stac_extensions"] for name, item in declared.items().items()}
    assert listing == {"scene_0.tif": False, "scene_1.tif": True, "scene_2.tif": True}

    assert json.loads(run("items", "patches", SOURCE, "--remove", "scene_1", "--json").stdout)["removed"] == 1
    assert run("items", "patches", SOURCE, "--remove", "scene_1").exit_code == 1
    overwrite(folder / "scene_0.tif", 9)
    assert declared.run().success
    assert properties(declared)["scene_0.tif"].items() > patched_to.items() - {("gsd", None)}
    assert declared.items()["scene_1.tif"] == first["scene_1.tif"]
    declared.check_promise()


def test_a_patch_is_in_the_item_of_a_vector_file_after_the_next_load(
    declared: Pipeline, folder: Path, tmp_path: Path
) -> None:
    write_vector(folder / "one.geojson", list(POINTS), driver="GeoJSON")
    for layer in ("first", "second"):
        write_vector(folder / "two.gpkg", list(POINTS), driver="GPKG", layer=layer, append=layer == "second")
    declared.declare(folder.as_uri(), name="vectors", tables={})
    load_vectors(declared)
    for entry, said in REFUSED_OF_VECTORS:
        if "of the first layer" in entry.get("item", ""):
            entry["item"] = ids_of(declared, "two.gpkg")[0]
        result = patched(tmp_path, entry, source="vectors", accepted=False)
        assert said in " ".join(result.output.split()), result.output

    result = patched(
        tmp_path,
        {"item": ids_of(declared, "one.geojson")[0], "properties": {"platform": "bicycle"}},
        {"blob": "two.gpkg", "properties": {"deprecated": True}},
        source="vectors",
    )
    assert "the next load_vectors" in " ".join(result.output.split())
    assert declared.status("vectors").pending == 2
    load_vectors(declared)
    assert declared.status("vectors").pending == 0
    stated = {item["id"]: item["properties"] for item in declared.database.catalogue.items_of("vectors", most=10)}
    assert stated[ids_of(declared, "one.geojson")[0]]["platform"] == "bicycle"
    assert [stated[item_id]["deprecated"] for item_id in ids_of(declared, "two.gpkg")] == [True, True]
    assert declared.database.census.take("vectors").green
    reconciled = declared.run("reconcile", source="vectors")
    assert reconciled.success
    assert all(check.passed for check in reconciled.get_asset_check_evaluations())
    assert stated == {
        item["id"]: item["properties"] for item in declared.database.catalogue.items_of("vectors", most=10)
    }

    (answer,) = [json.loads(run("items", "patches", "vectors", "--json").stdout)]
    assert [patch["name"] for patch in answer["patches"]] == ["one.geojson", "two.gpkg", "two.gpkg"]
    assert json.loads(run("items", "patches", "vectors", "--remove", "two.gpkg", "--json").stdout)["removed"] == 1
    load_vectors(declared)
    (left,) = [
        each["properties"]
        for each in declared.database.catalogue.items_of("vectors", most=10)
        if PATCHED in each["properties"]
    ]
    assert left["platform"] == "bicycle"


def load_vectors(pipeline: Pipeline) -> None:
    result = pipeline.run("load_vectors", source="vectors")
    assert result.success, failure_text(result)


def ids_of(pipeline: Pipeline, name: str) -> list[str]:
    """The ids of the items of a vector file."""
    items = pipeline.database.catalogue.items_of("vectors", most=10)
    return sorted(item["id"] for item in items if item["properties"]["geo_assets:blob"] == name)


def test_each_etag_that_follows_is_a_version_also_after_a_deletion(catalogue: str) -> None:
    database = Database(database_url=catalogue)

    def version(*pages: str) -> tuple[int, str | None]:
        for etag in pages:
            listed(database, [blob("a", etag)] if etag else [])
        known = database.scenes.remarks(LANDSAT.name, ["a"]).get("a", NOTHING)
        return known.versions_seen, known.previous_etag

    assert version("1", "1") == (1, None)
    assert version("2", "2") == (2, "1")
    assert version("", "2") == (2, "1")
    assert version("", "3") == (3, "2")


def test_a_thousand_items_are_patched_by_one_table(declared: Pipeline, folder: Path, tmp_path: Path) -> None:
    content = raster_bytes()
    for number in range(3, 1000):
        (folder / f"scene_{number}.tif").write_bytes(content)
    assert declared.run().success
    path = tmp_path / "patches.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item", "eo:cloud_cover", "sat:orbit", "note"])
        rows.writerows(
            [f"scene_{number}", number / 10, "", '"7"' if number % 2 else "plain text"] for number in range(1000)
        )
    said = json.loads(run("items", "patch", SOURCE, "--file", str(path), "--dry-run", "--json").stdout)
    assert (said, declared.status().pending) == ({"patches": 1000, "changed": 0, "dry_run": True}, 0)
    for changed in (1000, 0):
        said = json.loads(run("items", "patch", SOURCE, "--file", str(path), "--json").stdout)
        assert said == {"patches": 1000, "changed": changed, "dry_run": False}
    assert declared.run().success
    found = {item["id"]: item["properties"] for item in declared.items().values()}
    assert len(found) == 1000
    for number in range(1000):
        stated = found[f"scene_{number}"]
        assert stated["eo:cloud_cover"] == number / 10
        assert stated["note"] == ("7" if number % 2 else "plain text")
        assert "sat:orbit" not in stated
    assert not any(declared.database.census.take(SOURCE).counts.values())


def test_an_item_built_before_its_patch_is_not_taken_for_done(catalogue: str) -> None:
    database, patches = Database(database_url=catalogue), Database(database_url=catalogue).patches
    listed(database, [blob("a"), blob("b")])
    describe(database, blob("a"), blob("b"))
    before = database.scenes.remarks(LANDSAT.name, ["a", "b"])
    assert patches.store(LANDSAT.name, [("a", {"platform": "x"})]) == 1
    mark(database, LANDSAT, [blob("a"), blob("b")], run_id="run", remarks=before)
    assert counts(database) == {"blobs": 2, "described": 2, "catalogued": 1, "pending": 1}
    mark(database, LANDSAT, [blob("a")], run_id="run", remarks=database.scenes.remarks(LANDSAT.name, ["a"]))
    assert counts(database) == {"blobs": 2, "described": 2, "catalogued": 2}
    assert patches.remove(LANDSAT.name, None) == 1
    assert counts(database)["pending"] == 1
