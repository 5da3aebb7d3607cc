"""Blobs that go: grace, the breaker and consent, renames, and what each leaves in the catalogue."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from click.testing import CliRunner

from geo_assets.cli.main import main
from geo_assets.resources.database import Database
from geo_assets.sources.source import DeletionRule
from tests.ledgers import SOURCE as LANDSAT
from tests.ledgers import blob, describe, listed
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import raster_bytes, write_raster
from tests.services import Azurite

CONSENT = {"ops": {"stac_items": {"ops": {"plan_stac_items": {"config": {"consent_to_deletions": True}}}}}}
ONE_LOST = {"max_share": 0.5, "min_count": 1}


@pytest.fixture
def catalogued(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Three rasters with their items, of a source that lets one go at a time; the environment names it."""
    pipeline.declare(folder.as_uri(), deletions=ONE_LOST)
    assert pipeline.run().success
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    return pipeline


def deletions(*options: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["deletions", SOURCE, "--json", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def delete(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / f"scene_{number}.tif").unlink()


def test_too_many_deletions_fail_the_run_and_withdraw_nothing(catalogued: Pipeline, folder: Path) -> None:
    delete(folder, 0, 1)
    write_raster(folder / "new.tif", value=50)
    result = catalogued.run()
    assert not result.success
    said = failure_text(result)
    assert "deletions_held: 2 of 4 items of `rasters` would be removed" in said
    assert "scene_0.tif, scene_1.tif" in said
    assert "geo-assets deletions rasters --approve" in said
    assert set(catalogued.items()) == {"scene_0.tif", "scene_1.tif", "scene_2.tif", "new.tif"}
    assert catalogued.status().pending == 0


def test_what_is_held_stays_held_however_many_items_come(catalogued: Pipeline, folder: Path) -> None:
    delete(folder, 0, 1)
    for number in range(10):
        write_raster(folder / f"new_{number}.tif", value=50 + number)
    assert not catalogued.run().success
    assert not catalogued.run().success
    assert len(catalogued.items()) == 13


def test_consent_by_the_command_lets_the_next_run_go_on(catalogued: Pipeline, folder: Path) -> None:
    delete(folder, 0, 1)
    assert not catalogued.run().success
    shown = deletions()
    assert (shown["items"], shown["held"], shown["due"], shown["consented"]) == (3, 2, 0, 0)
    assert [item["name"] for item in shown["first"]] == ["scene_0.tif", "scene_1.tif"]
    assert deletions("--approve")["consented"] == 2
    assert catalogued.database.blobs.outstanding(SOURCE).to_withdraw == 2
    assert catalogued.run().success
    catalogued.check_promise()
    assert deletions()["items"] == 1


def test_consent_in_the_config_of_a_run_is_for_that_run(catalogued: Pipeline, folder: Path) -> None:
    delete(folder, 0, 1)
    assert catalogued.run(run_config=CONSENT).success
    assert set(catalogued.items()) == {"scene_2.tif"}
    for number in range(3):
        write_raster(folder / f"scene_{number}.tif", value=number)
    assert catalogued.run().success
    delete(folder, 0, 1)
    assert not catalogued.run().success


def test_consent_does_not_extend_to_what_goes_later(catalogued: Pipeline, folder: Path) -> None:
    for number in range(3, 9):
        write_raster(folder / f"scene_{number}.tif", value=number)
    assert catalogued.run().success
    delete(folder, 0, 1, 2, 3, 4)
    assert not catalogued.run().success
    assert deletions("--approve")["consented"] == 5
    delete(folder, 5, 6, 7)
    result = catalogued.run()
    assert not result.success
    assert "3 of 4 items" in failure_text(result)
    assert set(catalogued.items()) == {f"scene_{number}.tif" for number in (5, 6, 7, 8)}


def test_blobs_that_come_back_close_the_breaker(catalogued: Pipeline, folder: Path) -> None:
    kept = {name: (folder / name).read_bytes() for name in ("scene_0.tif", "scene_1.tif")}
    delete(folder, 0, 1)
    assert not catalogued.run().success
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    assert catalogued.run().success
    assert len(catalogued.items()) == 3
    catalogued.check_promise()


def test_the_sensor_has_nothing_to_ask_for_while_deletions_await_consent(catalogued: Pipeline, folder: Path) -> None:
    delete(folder, 0, 1)
    catalogued.run()
    left = catalogued.database.blobs.outstanding(SOURCE)
    assert (left.pending, left.to_withdraw, left.held) == (0, 0, 2)


def test_refused_blobs_lose_their_items_however_many_they_are(catalogued: Pipeline, folder: Path) -> None:
    for number in range(3):
        (folder / f"scene_{number}.tif").write_bytes(b"garbage" * (50 + number))
    assert catalogued.run().success
    assert catalogued.items() == {}
    assert catalogued.status().quarantined == 3
    catalogued.check_promise()


def test_an_item_stays_for_the_grace_period_and_goes_after_it(catalogued: Pipeline, folder: Path) -> None:
    catalogued.declare(folder.as_uri(), deletions={"grace": "7 days"})
    delete(folder, 1)
    assert catalogued.run().success
    assert len(catalogued.items()) == 3
    assert (deletions()["in_grace"], catalogued.database.blobs.outstanding(SOURCE).to_withdraw) == (1, 0)
    catalogued.execute("UPDATE ledger.blob SET deleted_at = deleted_at - interval '7 days' WHERE name = 'scene_1.tif'")
    assert catalogued.database.blobs.outstanding(SOURCE).to_withdraw == 1
    assert catalogued.run().success
    catalogued.check_promise()


def test_a_blob_that_comes_back_within_its_grace_keeps_its_item(catalogued: Pipeline, folder: Path) -> None:
    catalogued.declare(folder.as_uri(), deletions={"grace": "PT1H"})
    before = catalogued.items()["scene_1.tif"]
    content = folder / "scene_1.tif"
    aside = content.rename(folder.parent / "aside.tif")
    assert catalogued.run().success
    aside.rename(content)
    assert catalogued.run().success
    assert catalogued.items()["scene_1.tif"] == before
    catalogued.check_promise()


def test_a_renamed_file_is_recognised_and_not_read_again(catalogued: Pipeline, folder: Path) -> None:
    read = "SELECT metadata ->> 'bytes_read' FROM ledger.raster_metadata WHERE name = '{}'"
    catalogued.execute("UPDATE ledger.raster_metadata SET metadata = jsonb_set(metadata, '{bytes_read}', '-1')")
    (folder / "scene_1.tif").rename(folder / "scene_9.tif")
    assert catalogued.run().success
    assert catalogued.query(read.format("scene_9.tif")) == [("-1",)]
    items = catalogued.items()
    assert set(items) == {"scene_0.tif", "scene_2.tif", "scene_9.tif"}
    assert items["scene_9.tif"]["properties"]["geo_assets:renamed_from"] == "scene_1.tif"
    assert items["scene_9.tif"]["id"] == "scene_9"
    assert "geo_assets:renamed_from" not in items["scene_2.tif"]["properties"]
    catalogued.check_promise()


def test_a_folder_that_is_renamed_does_not_open_the_breaker(catalogued: Pipeline, folder: Path) -> None:
    catalogued.declare(folder.as_uri(), deletions={"grace": "1 day", "max_share": 0, "min_count": 0}, item_id="{stem}")
    assert catalogued.run().success
    (folder / "below").mkdir()
    for number in range(3):
        (folder / f"scene_{number}.tif").rename(folder / "below" / f"scene_{number}.tif")
    assert catalogued.run().success
    former = {name: item["properties"]["geo_assets:renamed_from"] for name, item in catalogued.items().items()}
    assert former == {f"below/scene_{number}.tif": f"scene_{number}.tif" for number in range(3)}
    catalogued.check_promise()


def test_a_new_version_of_a_renamed_blob_does_not_say_it_was_renamed(catalogued: Pipeline, folder: Path) -> None:
    (folder / "scene_1.tif").rename(folder / "scene_9.tif")
    catalogued.run()
    write_raster(folder / "scene_9.tif", value=70)
    assert catalogued.run().success
    assert "geo_assets:renamed_from" not in catalogued.items()["scene_9.tif"]["properties"]


def test_a_file_of_the_same_size_is_no_rename(catalogued: Pipeline, folder: Path) -> None:
    (folder / "scene_1.tif").unlink()
    write_raster(folder / "scene_9.tif", value=9)
    assert catalogued.run().success
    assert "geo_assets:renamed_from" not in catalogued.items()["scene_9.tif"]["properties"]
    assert catalogued.query("SELECT count(*) FROM ledger.rename") == [(0,)]


def test_in_azure_a_rename_is_known_by_the_checksum(
    pipeline: Pipeline, container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    content = {f"scene_{number}.tif": raster_bytes(value=number) for number in range(3)}
    for name, data in content.items():
        container.upload_blob(name, data)
    pipeline.declare(f"az://{container.container_name}")
    assert pipeline.run().success
    container.upload_blob("2024/scene.tif", content["scene_1.tif"])
    container.delete_blob("scene_1.tif")
    assert pipeline.run().success
    assert pipeline.query("SELECT new_name, old_name FROM ledger.rename") == [("2024/scene.tif", "scene_1.tif")]
    pipeline.check_promise()


def gone_and_come(catalogue: str, before: list[str], after: list[str], *, described: list[str] | None = None) -> Any:
    """What is taken for the former names of the blobs ``after``, all with the content of those ``before``."""
    database = Database(database_url=catalogue)
    old = [blob(name) for name in before]
    listed(database, old)
    describe(database, *(each for each in old if described is None or each.name in described))
    listed(database, [blob(name, "1" if name in before else "2") for name in after])
    found = database.deletions.record_renames(LANDSAT, run_id="run")
    remarks = database.scenes.remarks(LANDSAT.name, after)
    former = {name: known.former_name for name, known in remarks.items() if known.former_name}
    assert found == len(former)
    return former


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a.tif", "b.tif"], ["x.tif", "y.tif"]),
        (["a.tif", "b.tif"], ["x.tif"]),
        (["a.tif"], ["x.tif", "y.tif"]),
        (["a.tif", "b.tif"], ["b.tif", "x.tif"]),  # x.tif may be a copy of b.tif
    ],
)
def test_of_equal_contents_none_is_known_to_be_renamed(catalogue: str, before: list[str], after: list[str]) -> None:
    assert gone_and_come(catalogue, before, after) == {}


def test_a_gone_blob_that_was_never_read_may_be_the_renamed_one_too(catalogue: str) -> None:
    assert gone_and_come(catalogue, ["a.tif", "b.tif"], ["x.tif"], described=["a.tif"]) == {}


def test_what_went_before_an_earlier_listing_is_not_the_renamed_one(catalogue: str) -> None:
    assert gone_and_come(catalogue, ["a.tif"], ["x.tif"]) == {"x.tif": "a.tif"}
    database = Database(database_url=catalogue)
    describe(database, blob("x.tif", "2"))
    listed(database, [blob("y.tif", "3")])
    assert database.deletions.record_renames(LANDSAT, run_id="other run") == 1
    assert database.scenes.remarks(LANDSAT.name, ["y.tif"])["y.tif"].former_name == "x.tif"


def test_a_copy_of_which_an_equal_blob_is_gone_says_no_former_name_and_that_item_keeps_its_grace(
    pipeline: Pipeline, container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    content = raster_bytes(value=7)
    for name in ("copied.tif", "deleted.tif"):
        container.upload_blob(name, content)
    pipeline.declare(f"az://{container.container_name}", deletions={"grace": "1 day"})
    assert pipeline.run().success
    container.upload_blob("copy.tif", content)
    container.delete_blob("deleted.tif")
    assert pipeline.run().success
    items = pipeline.items()
    assert set(items) == {"copied.tif", "copy.tif", "deleted.tif"}
    assert "geo_assets:renamed_from" not in items["copy.tif"]["properties"]


def test_the_rule_says_how_many_may_go() -> None:
    rule = DeletionRule.model_validate({"grace": "7 days"})
    assert (rule.grace, rule.max_share, rule.min_count) == (timedelta(days=7), 0.5, 10)


def test_former_keys_are_still_accepted() -> None:
    rule = DeletionRule.model_validate({"most": 0.25, "allow": 3})
    assert (rule.max_share, rule.min_count) == (0.25, 3)
