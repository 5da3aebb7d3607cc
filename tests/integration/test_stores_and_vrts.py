"""Zarr stores and VRTs through the whole pipeline, from a folder and from Azurite: data that lie in many blobs."""

from pathlib import Path

import pytest
import zarr
from azure.storage.blob import ContainerClient

from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import Azurite
from tests.unit.core.formats.zarr_files import write_cube

VRT = """<VRTDataset rasterXSize="16" rasterYSize="16"><SRS>EPSG:32633</SRS>
<GeoTransform>500030, 30, 0, 5000000, 0, -30</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
<SourceFilename relativeToVRT="1">{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.fixture
def folder(tmp_path: Path, pipeline: Pipeline) -> Path:
    """A folder of stores of both versions, one of which cannot be read, beside a raster."""
    container = tmp_path / "container"
    write_raster(container / "scene.tif")
    write_cube(container / "cubes" / "second.zarr", zarr_format=2, consolidated=True)
    write_cube(container / "cubes" / "third.zarr")
    zarr.open_group(container / "cubes" / "empty.zarr", mode="w")
    pipeline.declare(container.as_uri(), include=["**"], datetime=["time_dimension", {"fixed": "2020-01-01T00:00:00Z"}])
    return container


def test_a_store_is_one_item_or_one_reason_and_new_when_its_coordinates_are(pipeline: Pipeline, folder: Path) -> None:
    assert pipeline.run().success
    items = pipeline.items()
    assert set(items) == {"scene.tif", "cubes/second.zarr/.zgroup", "cubes/third.zarr/zarr.json"}
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {
        "cubes/empty.zarr/zarr.json": "unsupported_format"
    }
    third = items["cubes/third.zarr/zarr.json"]
    assert third["assets"]["data"]["href"] == (folder / "cubes" / "third.zarr").as_uri()
    assert third["properties"]["end_datetime"] == "2020-01-01T23:00:00Z"
    pipeline.check_promise()

    store = folder / "cubes" / "third.zarr"
    (store / "tas" / "c" / "0" / "0" / "0").write_bytes(b"other data")
    again = pipeline.run()
    assert again.success
    assert all(check.passed for check in again.get_asset_check_evaluations())
    assert pipeline.items()["cubes/third.zarr/zarr.json"] == third
    zarr.open_array(store / "time", mode="r+")[23] = 47.0
    assert pipeline.run().success
    assert pipeline.items()["cubes/third.zarr/zarr.json"]["properties"]["end_datetime"] == "2020-01-02T23:00:00Z"
    pipeline.check_promise()


def test_a_file_below_a_folder_named_as_a_store_has_its_item_or_its_reason(pipeline: Pipeline, folder: Path) -> None:
    write_raster(folder / "cubes" / "third.zarr" / "scene.tif")
    write_raster(folder / "none.zarr" / "below" / "scene.tif")
    (folder / "none.zarr" / "bad.tif").write_bytes(b"no raster")
    assert pipeline.run().success
    assert pipeline.items().keys() >= {
        "cubes/third.zarr/scene.tif",
        "cubes/third.zarr/zarr.json",
        "none.zarr/below/scene.tif",
    }
    assert pipeline.failures()["none.zarr/bad.tif"].permanent
    pipeline.check_promise()


def upload(container: ContainerClient, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            container.upload_blob(path.relative_to(folder.parent).as_posix(), path.read_bytes())


def test_a_store_in_a_container_is_read_by_its_own_requests(
    pipeline: Pipeline, container: ContainerClient, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    for version in (2, 3):
        write_cube(tmp_path / "in" / f"v{version}.zarr", zarr_format=version)
    write_raster(tmp_path / "in" / "a" / "scene.tif")
    (tmp_path / "in" / "a" / "scene.vrt").write_text(VRT.format("scene.tif"))
    (tmp_path / "in" / "bad.vrt").write_text(VRT.format("/vsiaz/other/scene.tif"))
    upload(container, tmp_path / "in")
    url = f"az://{container.container_name}/in"
    rules = ["time_dimension", {"fixed": "2020-01-01T00:00:00Z"}]
    pipeline.declare(url, include=["**/*.zarr", "**/*.vrt"], datetime=rules, vrt=True, deletions={"max_share": 1})
    assert pipeline.run().success
    hrefs = {item["assets"]["data"]["href"] for item in pipeline.items().values()}
    assert hrefs == {f"{container.url}/in/{name}" for name in ("v2.zarr", "v3.zarr", "a/scene.vrt")}
    assert set(pipeline.failures()) == {"in/bad.vrt"}
    pipeline.check_promise()

    # Others in their place, whose roots have the same checksum, and a VRT that left its file behind: no renames.
    for blob in list(container.list_blob_names()):
        container.delete_blob(blob)
    write_cube(tmp_path / "moved" / "in" / "other.zarr", zarr_format=2, lat=(10.0, 9.0, 8.0))
    (tmp_path / "moved" / "in" / "b").mkdir()
    (tmp_path / "moved" / "in" / "b" / "scene.vrt").write_text(VRT.format("scene.tif"))
    upload(container, tmp_path / "moved" / "in")
    assert pipeline.run().success
    (item,) = pipeline.items().values()
    assert item["properties"]["proj:shape"] == [3, 3]
    assert pipeline.failures()["in/b/scene.vrt"].code == "corrupt"
    pipeline.check_promise()


def refuse_as_before(pipeline: Pipeline, name: str) -> None:
    """Leave the ledger as the last release did: the version of a store was its root's etag, and it was refused."""
    pipeline.execute(
        "UPDATE ledger.blob SET etag = split_part(etag, ';', 1), failed_etag = split_part(etag, ';', 1), "
        "described_etag = NULL, catalogued_etag = NULL, failed_stage = 'describe', failed_reading = described_reading, "
        "error_code = 'unsupported_format', error_message = 'Zarr is not read', permanent = true "
        f"WHERE source = '{SOURCE}' AND name = '{name}'"
    )


def test_a_vrt_is_read_once_the_source_allows_it_and_only_with_its_files(pipeline: Pipeline, folder: Path) -> None:
    for name, member in (("good", "scene.tif"), ("gone", "gone.tif"), ("bad", "../container/scene.tif")):
        (folder / f"{name}.vrt").write_text(VRT.format(member))
    assert pipeline.run().success
    reasons = {name: failure.code for name, failure in pipeline.failures().items() if name.endswith(".vrt")}
    assert reasons == dict.fromkeys(["good.vrt", "gone.vrt", "bad.vrt"], "unsupported_format")
    refuse_as_before(pipeline, "cubes/second.zarr/.zgroup")
    assert "cubes/second.zarr/.zgroup" in pipeline.failures()
    pipeline.declare(folder.as_uri(), include=["**"], vrt=True)
    assert pipeline.run().success
    assert "cubes/second.zarr/.zgroup" not in pipeline.failures()
    item = pipeline.items()["good.vrt"]
    assert item["properties"]["geo_assets:members"] == ["scene.tif"]
    assert item["properties"]["proj:transform"] == pipeline.items()["scene.tif"]["properties"]["proj:transform"]
    assert (item["assets"]["data"]["type"], item["assets"]["data"]["roles"]) == ("application/xml", ["data"])
    reasons = {name: failure.code for name, failure in pipeline.failures().items() if name.endswith(".vrt")}
    assert reasons == {"gone.vrt": "corrupt", "bad.vrt": "unsupported_format"}
    pipeline.check_promise()
