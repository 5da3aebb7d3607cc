"""Delete 1 of 100, rename 1, overwrite 1, delete 60, consent: catalogue, extent and census right after each."""

import os
from pathlib import Path

from shapely.geometry import shape

from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import raster_bytes, write_raster

CONSENT = {"ops": {"stac_items": {"ops": {"plan_stac_items": {"config": {"consent_to_deletions": True}}}}}}


def check(pipeline: Pipeline, names: set[str], *, held: int = 0) -> None:
    """The catalogue has the items of just these blobs, its extent is theirs, and the census is green."""
    items = pipeline.items()
    assert set(items) == names
    boxes = [shape(item["geometry"]).bounds for item in items.values()]
    west, south = (min(box[side] for box in boxes) for side in (0, 1))
    east, north = (max(box[side] for box in boxes) for side in (2, 3))
    ((content,),) = pipeline.query("SELECT content FROM pgstac.collections")
    assert content["extent"]["spatial"]["bbox"] == [[west, south, east, north]]
    report = pipeline.database.census.take(SOURCE)
    assert report.green
    assert {kind: count for kind, count in report.counts.items() if count} == ({"held": held} if held else {})
    if not held:
        pipeline.check_promise()


def test_the_catalogue_is_right_after_each_of_a_delete_a_rename_an_overwrite_and_a_mass_deletion(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "container"
    for number in range(100):
        write_raster(folder / f"{number:03}.tif", value=number)
    pipeline.declare(folder.as_uri())
    names = {f"{number:03}.tif" for number in range(100)}
    assert pipeline.run().success
    check(pipeline, names)

    (folder / "099.tif").unlink()
    assert pipeline.run().success
    check(pipeline, names := names - {"099.tif"})

    (folder / "098.tif").rename(folder / "renamed.tif")
    assert pipeline.run().success
    check(pipeline, names := names - {"098.tif"} | {"renamed.tif"})
    assert pipeline.items()["renamed.tif"]["properties"]["geo_assets:renamed_from"] == "098.tif"

    untouched = {name: item for name, item in pipeline.items().items() if name != "000.tif"}
    (folder / "000.tif").write_bytes(raster_bytes(value=300))
    later = (folder / "000.tif").stat().st_mtime_ns + 1_000_000
    os.utime(folder / "000.tif", ns=(later, later))
    assert pipeline.run().success
    check(pipeline, names)
    assert {name: item for name, item in pipeline.items().items() if name != "000.tif"} == untouched

    gone = {f"{number:03}.tif" for number in range(60)}
    for name in gone:
        (folder / name).unlink()
    write_raster(folder / "new.tif", value=150)
    held = pipeline.run()
    assert not held.success
    assert "60 of 100 items of `rasters` would be removed" in failure_text(held)
    check(pipeline, names := names | {"new.tif"}, held=60)

    assert pipeline.run(run_config=CONSENT).success
    check(pipeline, names - gone)
