"""COGs of real rasters: valid, equal to their raster, told of in the item, made anew with it, and gone with it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from azure.storage.blob import ContainerClient
from click.testing import CliRunner
from dagster import AssetCheckKey, AssetKey
from rio_cogeo.cogeo import cog_validate

from geo_assets.cli.main import main
from geo_assets.definitions import build_definitions
from geo_assets.ledger.cogs import StandingCog
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import SilverStore
from geo_assets.storage.local_blob_store import LocalBlobStore
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import Azurite

pytestmark = pytest.mark.usefixtures("silver")

RASTERS = ["*.tif", "*.jpg", "*.nc", "*.vrt"]
SMALL_BOX = (-78.6, 24.8, -78.2, 25.2)


def standing(pipeline: Pipeline) -> dict[str, StandingCog]:
    return {cog.name: cog for cog in pipeline.database.cogs.standing(SOURCE)}


def make(pipeline: Pipeline) -> Any:
    assert pipeline.run().success
    result = pipeline.run("make_cogs")
    assert result.success
    return result


def files(silver: Path) -> list[str]:
    return sorted(path.name for path in silver.rglob("*") if path.is_file())


def assert_same_pixels(one: Path, other: Path) -> None:
    with rasterio.open(one) as ours, rasterio.open(other) as theirs:
        assert (ours.shape, ours.count, ours.dtypes, ours.crs) == (
            theirs.shape,
            theirs.count,
            theirs.dtypes,
            theirs.crs,
        )
        np.testing.assert_array_equal(ours.read(), theirs.read())
        np.testing.assert_array_equal(ours.dataset_mask(), theirs.dataset_mask())


def test_every_sample_has_a_cog_with_its_very_pixels_or_a_reason(
    pipeline: Pipeline, silver: Path, samples: Path
) -> None:
    folder = samples / "rasters"
    pipeline.declare(folder.as_uri(), include=RASTERS, vrt=True, cogs={})
    result = make(pipeline)
    cogs, items = standing(pipeline), pipeline.items()
    assert set(cogs) == set(items), "whatever has an item has a COG or a reason"
    assert {name: cog.error_code for name, cog in cogs.items() if cog.error_code} == {
        "RGB.byte.gcp.vrt": "unsupported_format",
        "RGB.byte.rpc.vrt": "unsupported_format",
        "RGB.nc": "unsupported_format",
        "white-gemini-iv.vrt": "unsupported_format",
    }
    made = {name: cog for name, cog in cogs.items() if cog.href}
    assert len(made) > 20
    for name, cog in made.items():
        path = silver / str(cog.name_in_place)
        assert cog_validate(path, strict=True, quiet=True)[0], name
        assert_same_pixels(path, folder / name)
        asset = items[name]["assets"]["cog"]
        assert asset["href"] == path.as_uri()
        assert asset["file:size"] == path.stat().st_size
        assert items[name]["assets"]["thumbnail"]["href"].startswith(silver.as_uri())
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "cogs_are_there"]
    assert check.passed
    metadata = result.asset_materializations_for_node("cogs.finish_cogs")[0].metadata
    assert metadata["previews"].value.startswith("![](data:image/png;base64,")
    assert metadata["made_in_source"].value == len(made)
    before = {path: path.stat().st_mtime_ns for path in silver.rglob("*")}
    make(pipeline)
    assert {path: path.stat().st_mtime_ns for path in silver.rglob("*")} == before, "a second run makes nothing"


def test_a_landsat_scene_in_azurite_has_cogs_in_azurite(
    pipeline: Pipeline, samples: Path, container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    bands = sorted((samples / "landsat").glob("*.TIF"))
    for band in bands:
        container.upload_blob(f"in/{band.name}", band.read_bytes())
    place = f"az://{container.container_name}/silver"
    pipeline.declare(f"az://{container.container_name}/in", cogs={"url": place, "profile": "zstd"})
    make(pipeline)
    assert len(standing(pipeline)) == len(bands) == 8
    for name, cog in standing(pipeline).items():
        assert cog.facts is not None, (name, cog.error_message)
        assert cog.facts["pixels"] in ("every pixel and mask is equal", "its own")
        assert cog.facts["kind"] == ("categorical" if "QA" in name else "continuous")
        item = pipeline.items()[name]
        assert item["assets"]["cog"]["href"] == f"{container.url}/silver/cogs/{SOURCE}/{name.removeprefix('in/')}"
    blob = container.get_blob_client(f"silver/cogs/{SOURCE}/{bands[0].name}")
    assert blob.get_blob_properties().content_settings.content_type == "image/tiff"


def test_a_cog_is_made_anew_with_its_raster_and_goes_with_it_and_with_the_rule(
    pipeline: Pipeline, silver: Path, folder: Path
) -> None:
    keys: dict[str, Any] = {"deletions": {"max_share": 1}}
    pipeline.declare(folder.as_uri(), cogs={}, **keys)
    make(pipeline)
    assert len(files(silver)) == 6
    write_raster(folder / "scene_1.tif", value=77)
    (folder / "scene_2.tif").unlink()
    make(pipeline)
    assert_same_pixels(silver / "cogs" / SOURCE / "scene_1.tif", folder / "scene_1.tif")
    make(pipeline)
    assert files(silver) == ["scene_0.thumbnail.png", "scene_0.tif", "scene_1.thumbnail.png", "scene_1.tif"]
    pipeline.check_promise()
    pipeline.declare(folder.as_uri(), **keys)
    make(pipeline)
    assert files(silver) == []
    assert all(set(item["assets"]) == {"data"} for item in pipeline.items().values())


def test_what_lacks_only_its_cog_is_catalogued_and_work_that_is_left(pipeline: Pipeline, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    assert pipeline.run().success
    assert pipeline.run("make_cogs", asset_selection=[AssetKey("cogs")]).success
    status, left = pipeline.status(), pipeline.database.blobs.outstanding(SOURCE)
    assert (status.catalogued, status.cogs_to_link, status.pending) == (3, 3, 0)
    assert (left.pending, left.cogs_to_link, left.pending_since) == (3, 3, None)
    pipeline.database.patches.store(SOURCE, [("scene_0.tif", {"title": "x"})])
    write_raster(folder / "scene_1.tif", value=77)
    assert pipeline.run("list_container").success
    status = pipeline.status()
    assert (status.catalogued, status.cogs_to_link, status.pending) == (1, 1, 2), "patched, and overwritten"
    assert pipeline.run("make_cogs").success
    assert pipeline.run().success
    status, left = pipeline.status(), pipeline.database.blobs.outstanding(SOURCE)
    assert (status.catalogued, status.cogs_to_link, status.pending) == (3, 0, 0)
    assert (left.pending, left.cogs_to_link) == (0, 0)
    assert "cog" in pipeline.items()["scene_2.tif"]["assets"]


def test_a_cog_that_somebody_took_away_fails_the_check(pipeline: Pipeline, silver: Path, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    make(pipeline)
    (silver / "cogs" / SOURCE / "scene_1.tif").unlink()
    result = pipeline.run("make_cogs")
    key = AssetCheckKey(AssetKey("cogs"), "cogs_are_there")
    (check,) = [each for each in result.get_asset_check_evaluations() if each.asset_check_key == key]
    assert not check.passed
    assert check.metadata["wrong"].value == 1


def test_a_raster_that_is_such_a_cog_is_linked_and_not_copied(pipeline: Pipeline, silver: Path, folder: Path) -> None:
    write_raster(folder / "plain" / "large.tif", width=700, height=600)
    pipeline.declare(folder.as_uri(), include=["plain/*"], cogs={})
    make(pipeline)
    (folder / "cog.tif").write_bytes((silver / "cogs" / SOURCE / "plain" / "large.tif").read_bytes())
    pipeline.declare(folder.as_uri(), include=["cog.tif"], cogs={}, deletions={"max_share": 1})
    make(pipeline)
    cog = standing(pipeline)["cog.tif"]
    assert cog.is_linked
    assert cog.href == (folder / "cog.tif").as_uri()
    assert pipeline.items()["cog.tif"]["assets"]["cog"]["href"] == cog.href


@pytest.mark.parametrize(
    ("rule", "pixels"),
    [
        ({"profile": "lerc", "max_error": 4}, "lossy"),
        ({"profile": "jpeg", "quality": 90}, "lossy"),
        ({"profile": "webp", "quality": 100}, "every pixel"),
        ({"bands": [3, 1]}, "every pixel"),
        ({"clip": SMALL_BOX}, "every pixel"),
        ({"target_crs": "EPSG:4326"}, "resampled to EPSG:4326"),
        ({"tiling_scheme": "GoogleMapsCompatible"}, "resampled to EPSG:3857"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_rule_is_kept(pipeline: Pipeline, silver: Path, samples: Path, rule: dict[str, Any], pixels: str) -> None:
    pipeline.declare((samples / "rasters").as_uri(), include=["rgb1.tif"], cogs=rule)
    make(pipeline)
    cog = standing(pipeline)["rgb1.tif"]
    assert cog.facts is not None, cog.error_message
    assert cog.facts["pixels"].startswith(pixels)
    asset = pipeline.items()["rgb1.tif"]["assets"]["cog"]
    with rasterio.open(silver / str(cog.name_in_place)) as made:
        assert len(asset["bands"]) == len(rule.get("bands", (1, 2, 3)))
        moved = "clip" in rule or "target_crs" in rule or "tiling_scheme" in rule
        assert ("proj:shape" in asset) == moved
        if moved:
            assert asset["proj:shape"] == list(made.shape)
            assert asset["proj:transform"] == pytest.approx(list(made.transform)[:6])


def test_what_a_rule_cannot_make_has_a_reason(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raster(folder / "deep.tif", dtype="uint16", count=3)
    pipeline.declare(folder.as_uri(), include=["deep.tif"], cogs={"profile": "jpeg"})
    make(pipeline)
    assert standing(pipeline)["deep.tif"].error_code == "unfit_for_profile"
    pipeline.declare(folder.as_uri(), include=["deep.tif"], cogs={"max_pixels": 10})
    make(pipeline)
    assert standing(pipeline)["deep.tif"].error_code == "too_large"
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    said = json.loads(CliRunner().invoke(main, ["cogs", SOURCE, "--failed", "--json"]).output)
    assert (said["refused"], said["made"], [raster["name"] for raster in said["rasters"]]) == (1, 0, ["deep.tif"])
    assert "too_large" in CliRunner().invoke(main, ["cogs", SOURCE]).output


def test_files_of_an_earlier_rule_go_and_each_raster_keeps_its_own(
    pipeline: Pipeline, silver: Path, folder: Path, tmp_path: Path
) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    make(pipeline)
    pipeline.declare(folder.as_uri(), cogs={"thumbnail": 0})
    make(pipeline)
    assert files(silver) == ["scene_0.tif", "scene_1.tif", "scene_2.tif"]
    elsewhere = tmp_path / "elsewhere"
    pipeline.declare(folder.as_uri(), cogs={"thumbnail": 0, "url": elsewhere.as_uri()})
    make(pipeline)
    assert (files(silver), files(elsewhere)) == ([], ["scene_0.tif", "scene_1.tif", "scene_2.tif"])


def test_the_cog_of_an_earlier_version_goes_where_the_present_one_can_have_none(
    pipeline: Pipeline, silver: Path, folder: Path
) -> None:
    write_raster(folder / "one.tif", size=64)
    pipeline.declare(folder.as_uri(), include=["one.tif"], cogs={"max_pixels": 10_000})
    make(pipeline)
    assert files(silver) == ["one.thumbnail.png", "one.tif"]
    write_raster(folder / "one.tif", size=128)
    make(pipeline)
    assert standing(pipeline)["one.tif"].error_code == "too_large"
    assert files(silver) == []


def test_kept_files_of_a_deleted_raster_are_no_orphans(pipeline: Pipeline, silver: Path, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), cogs={"keep": True}, deletions={"max_share": 1})
    make(pipeline)
    (folder / "scene_1.tif").unlink()
    result = make(pipeline)
    make(pipeline)
    assert len(files(silver)) == 6
    assert pipeline.database.cogs.orphans() == []
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "cogs_are_there"]
    assert check.passed


def test_two_rasters_whose_cogs_would_have_one_name_do_not_share_it(
    pipeline: Pipeline, silver: Path, folder: Path
) -> None:
    write_raster(folder / "a.png.cog.tif", value=3)
    with rasterio.open(folder / "a.png", "w", driver="PNG", width=32, height=32, count=1, dtype="uint8") as picture:
        picture.write(np.full((32, 32), 7, "uint8"), 1)
    (folder / "a.pgw").write_text("30\n0\n0\n-30\n500000\n5000000\n")
    pipeline.declare(folder.as_uri(), include=["a.png", "a.png.cog.tif"], assume_crs="EPSG:32633", cogs={})
    make(pipeline)
    cogs = standing(pipeline)
    assert sorted(cog.error_code or "" for cog in cogs.values()) == ["", "cog_name_taken"]
    (made,) = [cog for cog in cogs.values() if cog.href]
    with rasterio.open(silver / str(made.name_in_place)) as ours, rasterio.open(folder / made.name) as theirs:
        np.testing.assert_array_equal(ours.read(), theirs.read())


def test_no_sweep_removes_what_is_being_published(pipeline: Pipeline, silver: Path, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    assert pipeline.run().success
    recorded, store = pipeline.database.cogs, SilverStore()
    source, names = SourcesFile(path=str(pipeline.sources_path)).get(SOURCE), ["cogs/rasters/a.tif"]
    blob = LocalBlobStore(folder).head("scene_0.tif")
    assert blob is not None
    with recorded.publishing(source, blob, place=store.place, names_in_place=names, run_id=None):
        store.publish(folder / "scene_0.tif", names[0], content_type="image/tiff")
        assert [file.name_in_place for file in recorded.orphans(SOURCE)] == names
        assert recorded.sweep(store.remove).removed == []
        assert files(silver) == ["a.tif"]
    assert [file.name_in_place for file in recorded.sweep(store.remove).removed] == names
    assert (files(silver), recorded.orphans()) == ([], [])


def test_a_place_that_takes_no_removal_keeps_no_other_from_being_swept(
    pipeline: Pipeline, silver: Path, folder: Path, tmp_path: Path
) -> None:
    pipeline.declare(folder.as_uri(), cogs={"url": (tmp_path / "closed").as_uri()})
    make(pipeline)
    pipeline.declare(folder.as_uri(), cogs={})
    make(pipeline)
    pipeline.execute("UPDATE ledger.silver_file SET place = 'az://gone/' WHERE name_in_place LIKE '%/scene_0.%'")
    pipeline.execute("DELETE FROM ledger.cog WHERE name <> 'scene_2.tif'")
    sweep = pipeline.database.cogs.sweep(SilverStore().remove)
    assert sorted(file.name_in_place for file in sweep.removed) == [
        "cogs/rasters/scene_1.thumbnail.png",
        "cogs/rasters/scene_1.tif",
    ]
    assert [error.code for error in sweep.left.values()] == ["invalid_configuration"]
    assert len(pipeline.database.cogs.orphans()) == 2


def test_files_that_no_cog_has_are_listed_and_removed_on_request_and_no_other(
    pipeline: Pipeline, silver: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    make(pipeline)
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    place = silver / "cogs" / SOURCE
    strangers = [place / "readme.txt", silver / "cogs" / "other" / "theirs.tif", silver / "theirs.tif"]
    unrecorded = [place / "old.tif", place / "fresh.tif"]
    for path in (*strangers, *unrecorded):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"file")
    os.utime(unrecorded[0], (0, 0))
    pipeline.execute("DELETE FROM ledger.cog WHERE name = 'scene_0.tif'")

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    assert run("status")[0]["orphaned_files"] == run("status", SOURCE)["orphaned_files"] == 2
    assert run("cogs", SOURCE)["orphans"] == 2
    listed = run("cogs", SOURCE, "--orphans")
    expected = {"scene_0.tif": True, "scene_0.thumbnail.png": True, "old.tif": False, "fresh.tif": False}
    assert {Path(each["name"]).name: each["recorded"] for each in listed["orphans"]} == expected
    removed = run("cogs", SOURCE, "--orphans", "--remove")
    gone = {Path(each["name"]).name for each in removed["orphans"] if each["removed"]}
    assert gone == {"scene_0.tif", "scene_0.thumbnail.png", "old.tif"}
    assert "fresh.tif" in CliRunner().invoke(main, ["cogs", SOURCE, "--orphans"], catch_exceptions=False).output
    assert all(path.exists() for path in (*strangers, unrecorded[1]))
    assert not unrecorded[0].exists()
    assert run("status", SOURCE)["orphaned_files"] == 0


def test_orphans_of_a_source_that_is_no_longer_declared_are_swept_by_night(
    pipeline: Pipeline, silver: Path, folder: Path
) -> None:
    pipeline.declare(folder.as_uri(), cogs={})
    make(pipeline)
    pipeline.execute("DELETE FROM ledger.cog WHERE name = 'scene_0.tif'")
    pipeline.sources_path.write_text("sources: {}")
    definitions = build_definitions(pipeline.resources())
    job = definitions.resolve_job_def("retention")
    assert job.execute_in_process(
        instance=pipeline.instance, run_config={}, op_selection=["remove_orphaned_files"]
    ).success
    assert len(files(silver)) == 4
