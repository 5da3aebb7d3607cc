"""Every format through the whole pipeline, with its sidecars: placed, placed anew when they change, or refused."""

import os
from pathlib import Path

import numpy as np
import pyproj
import pytest

from tests.pipeline import Pipeline
from tests.rasters import raster_bytes, write_raster
from tests.unit.core.formats.files import cf_bytes, gdal_netcdf_bytes, picture_bytes

WORLD = "10.0\n0.0\n0.0\n-10.0\n500005.0\n4999995.0\n"
UTM33 = pyproj.CRS("EPSG:32633").to_wkt("WKT1_ESRI")


@pytest.fixture
def folder(tmp_path: Path, pipeline: Pipeline) -> Path:
    """A folder of one file of each format, every blob of which is included."""
    container = tmp_path / "container"
    write_raster(container / "scene.tif")
    for name, driver in (("own.jp2", "JP2OpenJPEG"), ("map.png", "PNG"), ("photo.jpg", "JPEG")):
        (container / name).write_bytes(picture_bytes(driver))
    (container / "grid.nc").write_bytes(gdal_netcdf_bytes())
    (container / "cube.nc").write_bytes(cf_bytes(time=np.arange(24.0)))
    pipeline.declare(container.as_uri(), include=["**"])
    return container


def test_each_format_becomes_an_item_of_its_media_type_or_lacks_a_named_fact(pipeline: Pipeline, folder: Path) -> None:
    assert pipeline.run().success
    assert {name: item["assets"]["data"]["type"] for name, item in pipeline.items().items()} == {
        "scene.tif": "image/tiff; application=geotiff",
        "own.jp2": "image/jp2",
        "grid.nc": "application/x-netcdf",
        "cube.nc": "application/x-netcdf",
    }
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {
        "map.png": "missing_crs",
        "photo.jpg": "missing_crs",
    }
    pipeline.check_promise()


def test_what_nobody_foresaw_of_a_file_is_its_reason_and_its_neighbours_have_items(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    """A dimension without a name, and a CRS that has PROJ open a pipe, which it would read for ever."""
    os.mkfifo(tmp_path / "pipe")
    extension = f'EXTENSION["PROJ4","+proj=tmerc +lon_0=9 +ellps=bessel +nadgrids={tmp_path / "pipe"} +wktext"]'
    (folder / "map.prj").write_text(pyproj.CRS(32632).to_wkt("WKT1_GDAL").removesuffix("]") + f",{extension}]")
    (folder / "map.pgw").write_text(WORLD)
    named = b"\0\0\0\1y\0\0\0"
    content = gdal_netcdf_bytes()
    assert named in content
    (folder / "grid.nc").write_bytes(content.replace(named, b"\0\0\0\1" + bytes(4), 1))
    for attempt in (1, 2, 3):
        assert pipeline.run().success
        failures = pipeline.failures()
        assert {name: failure.code for name, failure in failures.items()} == {
            "map.png": "missing_crs",
            "photo.jpg": "missing_crs",
            "grid.nc": "unforeseen",
        }
        assert failures["grid.nc"].permanent is (attempt == 3)
    assert "geo_assets/raster/formats/" in failures["grid.nc"].message
    assert "names the file" in failures["map.png"].message
    assert set(pipeline.items()) == {"scene.tif", "own.jp2", "cube.nc"}
    pipeline.check_promise()


def test_a_range_of_time_goes_into_item_and_collection(pipeline: Pipeline, folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "cube.nc":
            path.unlink()
    pipeline.declare(folder.as_uri(), include=["**"], datetime=["time_dimension"])
    assert pipeline.run().success
    properties = pipeline.items()["cube.nc"]["properties"]
    assert properties["datetime"] == "2020-01-01T00:00:00Z"
    assert properties["start_datetime"] == "2020-01-01T00:00:00Z"
    assert set(properties["cube:dimensions"]) == {"time", "lat", "lon"}
    ((content,),) = pipeline.query("SELECT content FROM pgstac.collections")
    assert content["extent"]["temporal"]["interval"] == [["2020-01-01T00:00:00Z", "2020-01-01T23:00:00Z"]]


def test_sidecars_place_a_picture_and_are_no_items(pipeline: Pipeline, folder: Path) -> None:
    (folder / "map.pgw").write_text(WORLD)
    (folder / "map.prj").write_text(UTM33)
    for name in ("scene.tif.ovr", "scene.tif.msk", "scene.tif.aux.xml", "scene.tfw"):
        (folder / name).write_bytes(b"of a raster")
    result = pipeline.run()
    assert result.success
    properties = pipeline.items()["map.png"]["properties"]
    assert properties["proj:transform"] == [10, 0, 500_000, 0, -10, 5_000_000]
    assert properties["geo_assets:transform_source"] == "world file map.pgw beside it"
    assert properties["geo_assets:crs_source"] == "map.prj beside it"
    assert set(pipeline.failures()) == {"photo.jpg"}
    listing = next(
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key and event.asset_key.to_user_string() == "container_listing"
    )
    assert (listing["sidecars"].value, listing["ignored_blobs"].value) == (6, 0)
    pipeline.check_promise()


def test_a_sidecar_that_comes_changes_or_goes_makes_the_item_anew(pipeline: Pipeline, folder: Path) -> None:
    pipeline.declare(folder.as_uri(), include=["**"], assume_crs="EPSG:32633")
    pipeline.run()
    assert pipeline.failures()["map.png"].code == "missing_transform"
    (folder / "map.pgw").write_text(WORLD)
    assert pipeline.run().success
    first = pipeline.items()["map.png"]["properties"]
    assert first["geo_assets:crs_source"] == "assumed by the source: EPSG:32633"
    (folder / "map.pgw").write_text(WORLD.replace("500005", "600005"))
    assert pipeline.run().success
    second = pipeline.items()["map.png"]["properties"]
    assert (first["proj:transform"][2], second["proj:transform"][2]) == (500_000, 600_000)
    (folder / "map.pgw").unlink()
    assert pipeline.run().success
    assert "map.png" not in pipeline.items()
    assert pipeline.failures()["map.png"].code == "missing_transform"
    pipeline.check_promise()


def test_a_crs_is_assumed_once_the_source_says_so(pipeline: Pipeline, folder: Path) -> None:
    (folder / "bare.tif").write_bytes(raster_bytes(crs=None))
    pipeline.run()
    assert pipeline.failures()["bare.tif"].code == "missing_crs"
    pipeline.declare(folder.as_uri(), include=["**"], assume_crs="EPSG:32633")
    assert pipeline.run().success
    assert pipeline.items()["bare.tif"]["properties"]["proj:code"] == "EPSG:32633"
    assert "geo_assets:crs_source" not in pipeline.items()["scene.tif"]["properties"]


def test_damaged_netcdf_costs_itself_only(pipeline: Pipeline, folder: Path) -> None:
    random, data = np.random.default_rng(5), cf_bytes()
    for number in range(40):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 6):
            damaged[place] = random.integers(0, 256)
        (folder / f"damaged_{number}.nc").write_bytes(damaged)
    assert pipeline.run().success
    assert {"scene.tif", "own.jp2", "grid.nc", "cube.nc"} <= set(pipeline.items())
    pipeline.check_promise()
