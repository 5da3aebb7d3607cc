"""A dry run says what a run would find and do, and does none of it."""

import json
from pathlib import Path

import pytest

from geo_assets.assets.container_listing import plan_source
from geo_assets.assets.plan import SourcePlan
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import raster_bytes, write_raster

pytestmark = pytest.mark.usefixtures("one_file_a_step")


def plan(pipeline: Pipeline) -> SourcePlan:
    """What a run would do now."""
    source = SourcesFile(path=str(pipeline.sources_path)).get(SOURCE)
    return plan_source(source, blob_stores=BlobStores(), database=pipeline.database)


def test_the_plan_names_what_a_run_would_find(pipeline: Pipeline, folder: Path) -> None:
    before = plan(pipeline)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert (before.new, before.changed, before.deleted, before.pending) == (3, 0, 0, 0)
    assert (before.size_bytes, before.batches, before.expected_steps) == (size, 3, 13)
    assert pipeline.status().blobs == 0
    pipeline.run()
    (folder / "scene_0.tif").unlink()
    (folder / "scene_1.tif").write_bytes(raster_bytes(value=77, size=20))
    write_raster(folder / "scene_3.tif", value=3)
    after = plan(pipeline)
    assert (after.new, after.changed, after.deleted, after.unchanged) == (1, 1, 1, 1)
    assert pipeline.run().success
    assert (plan(pipeline).blobs, plan(pipeline).deleted) == (0, 0)


def test_the_expected_steps_are_those_of_the_run(pipeline: Pipeline, folder: Path) -> None:
    expected = plan(pipeline).expected_steps
    result = pipeline.run()
    steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert len(steps) == expected


def test_a_job_configured_to_run_dry_lists_and_stops(pipeline: Pipeline, folder: Path) -> None:
    config = {"ops": {"container_listing": {"config": {"dry_run": True}}}}
    result = pipeline.run(run_config=config)
    assert result.success
    assert result.get_asset_materialization_events() == []
    assert pipeline.status().blobs == 0
    assert pipeline.query("SELECT count(*) FROM pgstac.collections") == [(0,)]


def test_the_plan_is_json_where_asked(pipeline: Pipeline, folder: Path) -> None:
    document = json.loads(json.dumps(plan(pipeline).as_dict()))
    assert document["blobs"] == 3
    assert document["blobs_a_batch"] == 1
