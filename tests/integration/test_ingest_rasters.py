"""The main job on a folder: from files to items and reasons, and what happens as files change."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline import Pipeline
from tests.rasters import raster_bytes, write_raster
from tests.samples import identity


def overwrite(path: Path, content: bytes) -> None:
    """Replace a file, with another modification time even on a coarse clock."""
    path.write_bytes(content)
    later = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))


def test_every_raster_becomes_one_item(pipeline: Pipeline, folder: Path) -> None:
    assert pipeline.run().success
    assert set(pipeline.items()) == {"scene_0.tif", "scene_1.tif", "scene_2.tif"}
    assert pipeline.status().catalogued == 3
    pipeline.check_promise()


def test_a_blob_whose_id_is_taken_waits_for_that_id_and_for_no_other(pipeline: Pipeline, folder: Path) -> None:
    for name in ("below/scene_0.tif", "below/scene_9.tif"):
        write_raster(folder / name, value=40)
    assert pipeline.run().success
    pipeline.declare(folder.as_uri(), item_id="{stem}")
    assert pipeline.run().success  # below/scene_9.tif gives its older id away after the other one was refused
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {
        "below/scene_0.tif": "duplicate_item"
    }
    (folder / "scene_0.tif").unlink()
    assert pipeline.run().success
    assert pipeline.failures() == {}
    assert pipeline.items()["below/scene_0.tif"]["id"] == "scene_0"
    pipeline.check_promise()


def test_a_second_run_changes_nothing(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    before = pipeline.query("SELECT id, xmin::text FROM pgstac.items ORDER BY id")
    assert pipeline.run().success
    assert pipeline.query("SELECT id, xmin::text FROM pgstac.items ORDER BY id") == before


def test_a_bad_file_costs_that_file_only(pipeline: Pipeline, folder: Path) -> None:
    (folder / "text.tif").write_text("not a raster at all, only text" * 10)
    (folder / "picture.tif").write_bytes(b"GIF89a" + bytes(100))
    (folder / "cut.tif").write_bytes(raster_bytes(size=256)[:20_000])
    write_raster(folder / "nowhere.tif", crs=None)
    (folder / "empty.tif").touch()
    result = pipeline.run()
    assert result.success
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {
        "text.tif": "not_a_raster",
        "picture.tif": "unsupported_format",
        "cut.tif": "corrupt",
        "nowhere.tif": "missing_crs",
        "empty.tif": "not_a_raster",
    }
    assert len(pipeline.items()) == 3
    pipeline.check_promise()


def test_an_overwritten_file_changes_exactly_its_item(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    before = pipeline.items()
    overwrite(folder / "scene_1.tif", raster_bytes(value=40))
    assert pipeline.run().success
    after = pipeline.items()
    assert {name for name in before if before[name] != after[name]} == {"scene_1.tif"}
    pipeline.check_promise()


def test_a_deleted_file_loses_its_item(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    (folder / "scene_1.tif").unlink()
    assert pipeline.run().success
    assert set(pipeline.items()) == {"scene_0.tif", "scene_2.tif"}
    assert (pipeline.status().blobs, pipeline.status().deleted) == (2, 1)
    pipeline.check_promise()


def test_a_file_that_comes_back_gets_its_item_again(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    content = (folder / "scene_1.tif").read_bytes()
    (folder / "scene_1.tif").unlink()
    pipeline.run()
    (folder / "scene_1.tif").write_bytes(content)
    assert pipeline.run().success
    assert len(pipeline.items()) == 3
    pipeline.check_promise()


def test_a_file_overwritten_by_a_bad_one_loses_its_item_and_gets_a_reason(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    overwrite(folder / "scene_1.tif", b"garbage" * 50)
    assert pipeline.run().success
    assert set(pipeline.items()) == {"scene_0.tif", "scene_2.tif"}
    assert pipeline.failures()["scene_1.tif"].code == "not_a_raster"
    pipeline.check_promise()


def test_an_empty_folder_is_a_success(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pipeline.declare((tmp_path / "empty").as_uri())
    assert pipeline.run().success
    assert pipeline.status().blobs == 0


def test_a_folder_that_is_gone_fails_the_run_and_deletes_nothing(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    folder.rename(folder.with_name("elsewhere"))
    result = pipeline.run()
    assert not result.success
    assert "is not a folder" in str(result.failure_data_for_node("container_listing"))
    assert len(pipeline.items()) == 3
    folder.with_name("elsewhere").rename(folder)
    assert pipeline.run().success
    pipeline.check_promise()


def test_a_new_datetime_rule_replays_what_it_can_solve(pipeline: Pipeline, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), datetime=[])
    pipeline.run()
    assert {failure.code for failure in pipeline.failures().values()} == {"missing_datetime"}
    pipeline.declare(folder.as_uri(), datetime=[{"fixed": "2021-05-06T00:00:00Z"}])
    assert pipeline.run().success
    dates = {item["properties"]["datetime"] for item in pipeline.items().values()}
    assert dates == {"2021-05-06T00:00:00Z"}
    pipeline.check_promise()


def test_a_new_item_id_rule_moves_the_items(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    pipeline.declare(folder.as_uri(), item_id="v2-{stem}")
    assert pipeline.run().success
    ids = {row[0] for row in pipeline.query("SELECT id FROM pgstac.items")}
    assert ids == {"v2-scene_0", "v2-scene_1", "v2-scene_2"}
    pipeline.check_promise()


def test_two_blobs_that_want_one_item_id_give_one_item_and_one_reason(pipeline: Pipeline, folder: Path) -> None:
    write_raster(folder / "copy" / "scene_1.tif", value=9)
    pipeline.declare(folder.as_uri(), item_id="{stem}")
    assert pipeline.run().success
    assert len(pipeline.items()) == 3
    (failure,) = pipeline.failures().values()
    assert failure.code == "duplicate_item"
    pipeline.check_promise()


def test_the_second_blob_of_an_item_id_gets_it_when_the_first_is_gone(pipeline: Pipeline, folder: Path) -> None:
    write_raster(folder / "zcopy" / "scene_1.tif", value=9)
    pipeline.declare(folder.as_uri(), item_id="{stem}")
    pipeline.run()
    (owner,) = {"scene_1.tif", "zcopy/scene_1.tif"} & set(pipeline.items())
    (folder / owner).unlink()
    assert pipeline.run().success
    assert len(pipeline.items()) == 3
    assert pipeline.failures() == {}
    pipeline.check_promise()


def test_files_that_no_longer_match_lose_their_items(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    pipeline.declare(folder.as_uri(), exclude=["scene_2*"])
    assert pipeline.run().success
    assert set(pipeline.items()) == {"scene_0.tif", "scene_1.tif"}
    pipeline.check_promise()


def test_a_limit_is_honoured_and_deletes_nothing(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    pipeline.declare(folder.as_uri(), limit=2)
    assert pipeline.run().success
    assert len(pipeline.items()) == 3
    pipeline.declare(folder.as_uri(), name="few", limit=2)
    assert pipeline.run(source="few").success
    assert pipeline.status("few").blobs == 2


def test_two_sources_may_share_a_collection(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    write_raster(tmp_path / "more" / "scene_9.tif", value=90)
    shared = {"id": "shared", "description": "Of both"}
    pipeline.declare(folder.as_uri(), collection=shared)
    pipeline.declare((tmp_path / "more").as_uri(), name="more", collection=shared)
    assert pipeline.run().success
    assert pipeline.run(source="more").success
    assert pipeline.query("SELECT count(*) FROM pgstac.items WHERE collection = 'shared'") == [(4,)]
    (folder / "scene_0.tif").unlink()
    assert pipeline.run().success
    assert pipeline.query("SELECT count(*) FROM pgstac.items WHERE collection = 'shared'") == [(3,)]


def test_the_collection_extent_grows_and_shrinks_with_its_items(pipeline: Pipeline, folder: Path) -> None:
    far = write_raster(folder / "far.tif", value=5000)
    pipeline.run()
    assert collection_bbox(pipeline)[2] > 16.5
    far.unlink()
    pipeline.run()
    assert collection_bbox(pipeline)[2] < 15.1


def collection_bbox(pipeline: Pipeline) -> list[float]:
    """The bbox that the stored collection states."""
    ((content,),) = pipeline.query("SELECT content FROM pgstac.collections")
    bbox: list[float] = content["extent"]["spatial"]["bbox"][0]
    return bbox


def test_fifty_blobs_make_batches_of_a_hundred(pipeline: Pipeline, folder: Path) -> None:
    for number in range(3, 50):
        write_raster(folder / f"scene_{number}.tif", value=number)
    result = pipeline.run()
    assert result.success
    mapped = [event.step_key for event in result.all_events if event.is_step_success and "[" in str(event.step_key)]
    assert len(mapped) == 2
    assert len(pipeline.items()) == 50


@pytest.mark.usefixtures("one_file_a_step")
def test_below_fifty_blobs_each_file_is_a_step_of_its_own(pipeline: Pipeline, folder: Path) -> None:
    result = pipeline.run()
    mapped = [event.step_key for event in result.all_events if event.is_step_success and "[" in str(event.step_key)]
    assert len(mapped) == 6
    assert any("scene_1_tif" in str(key) for key in mapped)


@pytest.mark.usefixtures("worker_processes")
def test_a_materialization_shows_counts_failures_and_a_picture(pipeline: Pipeline, folder: Path) -> None:
    (folder / "text.tif").write_text("no raster")
    result = pipeline.run(maps=True)
    shown = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    listing, metadata, items = shown["container_listing"], shown["raster_metadata"], shown["stac_items"]
    assert (listing["blobs"].value, listing["new"].value) == (4, 4)
    assert "size_histogram" in listing
    assert int(str(metadata["bytes_read"].value)) > 0
    assert (items["catalogued"].value, items["quarantined_in_source"].value) == (3, 1)
    for figures in (metadata, items):
        assert figures["failures"].value.records[0].data["code"] == "not_a_raster"  # type: ignore[union-attr]
        assert str(figures["footprints"].value).startswith("![](data:image/png;base64,")


def test_an_item_states_its_blob_version_and_where_its_facts_are_from(pipeline: Pipeline, folder: Path) -> None:
    pipeline.run()
    item = pipeline.items()["scene_1.tif"]
    properties = item["properties"]
    assert properties["geo_assets:datetime_source"] == "fixed by the source"
    assert "EPSG:32633" in properties["geo_assets:geometry_source"]
    ((etag,),) = pipeline.query("SELECT etag FROM ledger.blob WHERE name = 'scene_1.tif'")
    assert properties["geo_assets:etag"] == etag
    assert item["assets"]["data"]["href"] == (folder / "scene_1.tif").as_uri()


def test_the_date_may_come_from_last_modified_only_when_asked(pipeline: Pipeline, folder: Path) -> None:
    os.utime(folder / "scene_0.tif", (1_600_000_000, 1_600_000_000))
    pipeline.declare(folder.as_uri(), datetime=["last_modified"])
    assert pipeline.run().success
    moment = datetime.fromtimestamp(1_600_000_000, UTC)
    assert pipeline.items()["scene_0.tif"]["properties"]["datetime"] == moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_an_undeclared_source_fails_with_the_names_there_are(pipeline: Pipeline, folder: Path) -> None:
    result = pipeline.run(source="nosuch")
    assert not result.success
    assert "it has: rasters" in str(result.failure_data_for_node("container_listing"))


@pytest.mark.parametrize("nodata", [-3.4028234663852886e38, -9999.5, float("nan"), 1e20])
def test_a_nodata_value_survives_the_ledger(pipeline: Pipeline, folder: Path, nodata: float) -> None:
    write_raster(folder / "scene_0.tif", dtype="float32", nodata=nodata)
    assert pipeline.run().success
    (band,) = pipeline.items()["scene_0.tif"]["assets"]["data"]["bands"]
    assert np.float32(band["nodata"]) == np.float32(nodata) or (np.isnan(nodata) and band["nodata"] == "nan")


def test_every_sample_is_one_item_a_sidecar_or_one_reason(pipeline: Pipeline, samples: Path) -> None:
    pipeline.declare(samples.as_uri(), include=["**"])
    assert pipeline.run().success
    golden = json.loads((Path(__file__).parents[1] / "golden" / "samples.json").read_text())
    items = {name: identity(item) for name, item in pipeline.items().items()}
    reasons = {name: failure.code for name, failure in pipeline.failures().items()}
    assert items | reasons == {name: outcome for name, outcome in golden.items() if outcome != "sidecar"}
    pipeline.check_promise()
