"""Sources that were renamed in, or removed from, sources.yaml: what becomes of their blobs, items and tables."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.storage.blob import ContainerClient
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from tests.api_server import served, settings_of
from tests.daemon import Daemon
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import raster_bytes, write_raster
from tests.services import Azurite
from tests.vectors import write_shapefile

COLLECTION = {"id": "kept", "description": "A collection that outlives its source"}


@pytest.fixture
def declared(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Three rasters with their items; the environment names the catalogue."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    pipeline.declare(folder.as_uri(), collection=COLLECTION)
    run(pipeline)
    return pipeline


def run(pipeline: Pipeline, source: str = SOURCE, job: str = "ingest_rasters") -> dict[str, bool]:
    """Run a job, which is to succeed; whether each check passed."""
    result = pipeline.run(job, source=source)
    assert result.success, failure_text(result)
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def remove(pipeline: Pipeline, name: str = SOURCE) -> dict[str, Any]:
    """Take a source out of sources.yaml; what it said."""
    document = yaml.safe_load(pipeline.sources_path.read_text())
    keys: dict[str, Any] = document["sources"].pop(name)
    pipeline.sources_path.write_text(yaml.safe_dump(document))
    return keys


def rename(pipeline: Pipeline, new: str = "renamed", **keys: Any) -> None:
    pipeline.declare(name=new, **{**remove(pipeline), **keys})


def command(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def orphans(*arguments: str, status: int = 0) -> Any:
    return json.loads(command("orphans", *arguments, "--json", status=status).stdout)


def owners(pipeline: Pipeline) -> set[tuple[Any, ...]]:
    """(source, blob) of each item, as the item says it and as the ledger does, which are to be the same."""
    of_items = "pgstac.items, LATERAL (SELECT content->'properties') AS c (p)"
    said = pipeline.query(f"SELECT p->>'geo_assets:source', p->>'geo_assets:blob' FROM {of_items}")
    assert sorted(said) == sorted(pipeline.query("SELECT source, name FROM ledger.item"))
    return set(said)


def split(pipeline: Pipeline, folder: Path) -> None:
    """Two sources in the place of one, with a blob each; one blob is of neither."""
    for number in range(2):
        include = [f"scene_{number}.tif"]
        pipeline.declare(folder.as_uri(), name=f"part_{number}", collection=COLLECTION, include=include)
    for number in range(2):
        run(pipeline, f"part_{number}")


def test_a_renamed_source_takes_over_its_items_and_reads_nothing_again(declared: Pipeline, folder: Path) -> None:
    declared.execute("UPDATE ledger.raster_metadata SET metadata = jsonb_set(metadata, '{bytes_read}', '-1')")
    rename(declared)
    assert all(run(declared, "renamed").values())
    assert declared.failures("renamed") == {}
    assert owners(declared) == {("renamed", f"scene_{number}.tif") for number in range(3)}
    assert declared.query("SELECT DISTINCT metadata ->> 'bytes_read' FROM ledger.raster_metadata") == [("-1",)]
    assert declared.query("SELECT source FROM ledger.source") == [("renamed",)]
    assert orphans() == []
    declared.check_promise("renamed")
    (folder / "scene_1.tif").unlink()
    run(declared, "renamed")
    assert owners(declared) == {("renamed", "scene_0.tif"), ("renamed", "scene_2.tif")}


def test_what_people_and_the_ledger_know_of_a_blob_goes_with_it(
    declared: Pipeline, folder: Path, tmp_path: Path
) -> None:
    write_raster(folder / "scene_0.tif", value=77)
    run(declared)
    patches = tmp_path / "patches.ndjson"
    patches.write_text(json.dumps({"blob": "scene_0.tif", "properties": {"platform": "x"}}))
    command("items", "patch", SOURCE, "--file", str(patches))
    (folder / "scene_1.tif").rename(folder / "scene_9.tif")
    run(declared)
    before = declared.items()
    rename(declared)
    run(declared, "renamed")
    after = declared.items("renamed")
    for name in before.keys() | after.keys():
        for each in (before, after):
            for key in ("geo_assets:source", "created", "updated"):
                each[name]["properties"].pop(key, None)
    assert after == before
    assert after["scene_0.tif"]["properties"]["version"] == "2"
    assert after["scene_9.tif"]["properties"]["geo_assets:renamed_from"] == "scene_1.tif"


def test_a_new_name_with_another_collection_and_another_rule_moves_the_items(declared: Pipeline) -> None:
    rename(declared, collection={"id": "other", "description": "d"}, item_id="new-{slug}")
    assert all(run(declared, "renamed").values())
    assert declared.query("SELECT DISTINCT collection FROM pgstac.items") == [("other",)]
    assert {item["id"] for item in declared.items("renamed").values()} == {f"new-scene_{n}" for n in range(3)}
    declared.check_promise("renamed")


def test_blobs_that_changed_or_went_meanwhile_are_judged_by_the_new_source(declared: Pipeline, folder: Path) -> None:
    write_raster(folder / "scene_0.tif", value=70)
    (folder / "scene_1.tif").unlink()
    rename(declared, deletions={"max_share": 0, "min_count": 0})
    result = declared.run(source="renamed")
    assert "deletions_held: 1 of 3 items of `renamed`" in failure_text(result)
    assert owners(declared) == {("renamed", f"scene_{number}.tif") for number in range(3)}
    assert declared.database.census.take("renamed").green
    command("deletions", "renamed", "--approve")
    declared.declare(name="third", **remove(declared, "renamed"))
    run(declared, "third")
    assert owners(declared) == {("third", "scene_0.tif"), ("third", "scene_2.tif")}


def test_a_source_that_saw_the_blobs_already_takes_them_over_once_the_other_is_gone(
    declared: Pipeline, folder: Path
) -> None:
    declared.declare(folder.as_uri(), name="second", collection=COLLECTION)
    run(declared, "second")
    assert {failure.code for failure in declared.failures("second").values()} == {"duplicate_item"}
    daemon = Daemon(declared)
    assert daemon.requested() == {}
    remove(declared)
    assert list(daemon.requested()) == ["second"]
    assert all(run(declared, "second").values())
    assert declared.failures("second") == {}
    assert owners(declared) == {("second", f"scene_{number}.tif") for number in range(3)}
    assert daemon.requested() == {}


def test_of_a_source_that_was_split_each_takes_what_it_has(declared: Pipeline, folder: Path) -> None:
    (folder / "scene_2.tif").unlink()
    remove(declared)
    split(declared, folder)
    assert owners(declared) == {("part_0", "scene_0.tif"), ("part_1", "scene_1.tif"), (SOURCE, "scene_2.tif")}
    (left,) = orphans()
    assert (left["source"], left["items"]) == (SOURCE, 1)


def test_a_prefix_of_a_container_is_the_same_place(
    pipeline: Pipeline, container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    for name in ("2024/a.tif", "2025/b.tif"):
        container.upload_blob(name, raster_bytes(value=3))
    pipeline.declare(f"az://{container.container_name}/2024", collection=COLLECTION)
    run(pipeline)
    remove(pipeline)
    pipeline.declare(f"az://{container.container_name}", name="all", collection=COLLECTION)
    assert all(run(pipeline, "all").values())
    assert owners(pipeline) == {("all", "2024/a.tif"), ("all", "2025/b.tif")}
    pipeline.check_promise("all")


def test_a_blob_of_the_same_name_elsewhere_is_another_blob(declared: Pipeline, tmp_path: Path) -> None:
    write_raster(tmp_path / "elsewhere" / "scene_0.tif", value=5)
    rename(declared, url=(tmp_path / "elsewhere").as_uri())
    passed = run(declared, "renamed")
    assert not passed["items_have_sources"]
    assert declared.failures("renamed")["scene_0.tif"].code == "duplicate_item"
    assert {source for source, _ in owners(declared)} == {SOURCE}
    assert [(each["source"], each["items"]) for each in orphans()] == [(SOURCE, 3)]


def test_what_a_removed_source_left_is_shown_everywhere_and_goes_with_consent_only(
    declared: Pipeline, tmp_path: Path
) -> None:
    write_raster(tmp_path / "other" / "a.tif")
    declared.declare((tmp_path / "other").as_uri(), name="other", collection=COLLECTION)
    assert run(declared, "other")["items_have_sources"]
    assert command("census").output
    remove(declared)
    assert not run(declared, "other")["items_have_sources"]
    report = declared.database.census.take("other", declared=["other"])
    assert (report.counts["former"], report.green) == (3, False)
    (censused,) = json.loads(command("census", "--json", status=1).stdout)
    assert censused["counts"]["former"] == 3
    (status,) = [each for each in json.loads(command("status", "--json").stdout) if each["source"] == SOURCE]
    assert (status["declared"], status["former_items"]) == (False, 3)
    assert "geo-assets orphans rasters" in command("status").output
    with served(settings_of(declared.database_url, declared.sources_path)) as client:
        (former,) = client.get("/api/sources").json()["former_sources"]
    assert (former["source"], former["items"]) == (SOURCE, 3)
    command("repair", "other")
    assert len(owners(declared)) == 4

    refused = command("orphans", SOURCE, "--remove", status=1)
    assert "deletions_held" in refused.output
    assert len(owners(declared)) == 4
    assert orphans(SOURCE, "--remove", "--approve")["withdrawn"] == 3
    assert owners(declared) == {("other", "a.tif")}
    assert all(run(declared, "other").values())
    assert orphans() == []
    command("orphans", SOURCE, status=1)
    command("orphans", "other", status=1)


def test_a_source_with_a_collection_of_its_own_is_found_by_the_census_when_it_is_removed(declared: Pipeline) -> None:
    rename(declared, "elsewhere", url="file:///nowhere", collection={"id": "elsewhere", "description": "d"})
    answers = {each["source"]: each for each in json.loads(command("census", "--json", status=1).stdout)}
    assert answers[SOURCE]["counts"]["former"] == 3
    assert "3 items" in command("orphans").output


def test_orphans_are_adopted_by_a_source_of_their_place(declared: Pipeline, folder: Path, tmp_path: Path) -> None:
    (folder / "scene_2.tif").unlink()
    keys = remove(declared)
    split(declared, folder)
    write_raster(tmp_path / "other" / "a.tif")
    declared.declare((tmp_path / "other").as_uri(), name="other", collection=COLLECTION)
    refused = command("orphans", SOURCE, "--adopt", "other", status=1)
    assert f"is not in {(tmp_path / 'other').as_uri()}" in " ".join(refused.output.split())
    assert orphans(SOURCE, "--adopt", "part_0")["adopted"] == 1
    assert orphans() == []
    run(declared, "part_0")
    assert owners(declared) == {("part_0", "scene_0.tif"), ("part_1", "scene_1.tif")}
    assert declared.query("SELECT count(*) FROM ledger.source WHERE source = 'rasters'") == [(0,)]
    assert keys["collection"] == COLLECTION


def test_a_protected_collection_keeps_its_orphans(declared: Pipeline, folder: Path) -> None:
    rename(declared, url=f"{folder.as_uri()}/none", collection={**COLLECTION, "protected": True})
    assert "protected" in command("orphans", SOURCE, "--remove", "--approve", status=1).output
    assert len(owners(declared)) == 3


def test_scenes_of_a_renamed_source_stay_whole_and_shrink_by_the_rule_of_the_new_one(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "scenes"
    for scene in ("s1", "s2"):
        for number, asset in enumerate(("red", "nir")):
            write_raster(folder / f"{scene}_{asset}.tif", value=number)
    group = {"name": r"(?P<item>s\d)_(?P<asset>\w+)\.tif$", "required": ["red"]}
    pipeline.declare(folder.as_uri(), collection=COLLECTION, group=group)
    run(pipeline)
    before = pipeline.query("SELECT id, content->'assets' FROM pgstac.items ORDER BY id")
    assert len(before) == 2
    (folder / "s2_nir.tif").unlink()
    rename(pipeline)
    assert all(run(pipeline, "renamed").values())
    after = pipeline.query("SELECT id, content->'assets' FROM pgstac.items ORDER BY id")
    assert after[0] == before[0]
    assert [set(assets) for _, assets in after] == [{"red", "nir"}, {"red"}]
    assert pipeline.query("SELECT DISTINCT source FROM ledger.item") == [("renamed",)]
    assert pipeline.query("SELECT source FROM ledger.source") == [("renamed",)]


def test_tables_of_a_renamed_source_stay_and_those_of_a_removed_one_go_with_it(
    declared: Pipeline, tmp_path: Path
) -> None:
    write_shapefile(tmp_path / "vectors" / "roads.shp")
    declared.declare((tmp_path / "vectors").as_uri(), name="vectors", tables={})
    run(declared, "vectors", "load_vectors")
    made = "SELECT to_regclass('vectors.roads')::oid"
    before = declared.query(made)
    keys = remove(declared, "vectors")
    declared.declare(name="lines", **keys)
    assert all(run(declared, "lines", "load_vectors").values())
    assert declared.query(made) == before
    assert declared.query("SELECT source FROM ledger.vector_table") == [("lines",)]
    assert declared.failures("lines") == {}
    remove(declared, "lines")
    (left,) = orphans()
    assert (left["source"], left["items"], left["tables"]) == ("lines", 1, 1)
    assert orphans("lines", "--remove", "--approve")["withdrawn"] == 1
    assert declared.query(made) == [(None,)]
    assert orphans() == []
