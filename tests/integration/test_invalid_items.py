"""Items that a schema refuses: the blob gets the reason with its place, and the others their items."""

import json
from pathlib import Path

import pytest
import rasterio
from dagster import AssetKey

from geo_assets.stac.extensions import EO_EXTENSION
from geo_assets.stac.schemas import schema_path
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.unit.core import schemas

BANDS = [{"name": "B02", "common_name": "blue", "center_wavelength": 0.49}]


def test_a_raster_of_another_number_of_bands_than_the_rule_is_refused_alone(pipeline: Pipeline, folder: Path) -> None:
    write_raster(folder / "pair.tif", count=2)
    pipeline.declare(folder.as_uri(), bands=BANDS, gsd=10)
    assert pipeline.run().success
    (failure,) = pipeline.failures().values()
    assert (failure.name, failure.code, failure.permanent) == ("pair.tif", "invalid_item", True)
    items = pipeline.items()
    assert set(items) == {"scene_0.tif", "scene_1.tif", "scene_2.tif"}
    assert {item["properties"]["gsd"] for item in items.values()} == {10}
    assert items["scene_0.tif"]["assets"]["data"]["bands"] == [
        {"name": "B02", "data_type": "uint16", "eo:common_name": "blue", "eo:center_wavelength": 0.49}
    ]
    pipeline.check_promise()


def test_a_file_whose_scale_is_no_number_is_refused_alone(pipeline: Pipeline, folder: Path) -> None:
    with rasterio.open(folder / "scene_1.tif", "r+") as dataset:
        dataset.scales = (float("nan"),)
    assert pipeline.run().success
    (failure,) = pipeline.failures().values()
    assert (failure.name, failure.code) == ("scene_1.tif", "invalid_item")
    assert "scale of nan" in failure.message
    assert set(pipeline.items()) == {"scene_0.tif", "scene_2.tif"}
    pipeline.check_promise()


def test_what_a_schema_refuses_is_quarantined_with_its_place_until_the_rule_is_mended(
    pipeline: Pipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of_schemas = schemas.EXTENSIONS or tmp_path / "schemas"
    if schemas.EXTENSIONS is None:  # enough of the eo extension for this test
        path = schema_path(folder_of_schemas, EO_EXTENSION)
        path.parent.mkdir(parents=True)
        band = {"properties": {"eo:common_name": {"enum": ["blue"]}}}
        asset = {"properties": {"bands": {"items": band}}}
        path.write_text(json.dumps({"properties": {"assets": {"additionalProperties": asset}}}))
    monkeypatch.setenv("GEO_ASSETS_SCHEMAS", str(folder_of_schemas))

    pipeline.declare((folder).as_uri(), bands=[{"common_name": "violet"}])
    pipeline.declare(folder.as_uri(), name="right", bands=BANDS)
    assert pipeline.run().success
    assert pipeline.run(source="right").success
    assert len(pipeline.items("right")) == 3
    assert pipeline.items() == {}
    failures = pipeline.failures()
    assert {failure.code for failure in failures.values()} == {"invalid_item"}
    assert len(failures) == 3
    assert failures["scene_0.tif"].message.startswith('$.assets.data.bands[0].eo:common_name: "violet"')

    pipeline.declare(folder.as_uri(), bands=BANDS)
    assert pipeline.run().success
    assert len(pipeline.items()) == 3
    assert pipeline.failures() == {}


def test_the_materialization_says_what_is_not_checked(
    pipeline: Pipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "schemas"
    empty.mkdir()
    monkeypatch.setenv("GEO_ASSETS_SCHEMAS", str(empty))
    result = pipeline.run()
    key = AssetKey("stac_items")
    (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key == key]
    unchecked = event.materialization.metadata["extensions_not_checked"].value
    assert isinstance(unchecked, dict)
    assert unchecked[EO_EXTENSION] == f"no schema in {empty}"


def test_a_folder_of_schemas_that_is_gone_fails_the_run_and_no_blob(
    pipeline: Pipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_SCHEMAS", str(tmp_path / "gone"))
    assert not pipeline.run().success
    assert pipeline.failures() == {}
    monkeypatch.delenv("GEO_ASSETS_SCHEMAS")
    assert pipeline.run().success
    assert len(pipeline.items(SOURCE)) == 3
    pipeline.check_promise()
