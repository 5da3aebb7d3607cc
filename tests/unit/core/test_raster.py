"""Reading headers: the facts, the refusals, and what a hostile or failing file does."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from geo_assets.errors import Corrupt, NotARaster, PermanentError, StorageUnavailable, UnsupportedFormat
from geo_assets.models import RasterMetadata
from geo_assets.raster.header import forget_kinds, open_raster, read_raster_metadata
from tests.unit.core.rasters import NORTH_UP, tiff_bytes


def read(data: bytes) -> RasterMetadata:
    return read_raster_metadata(io.BytesIO(data))


def test_a_header_is_read_as_it_is() -> None:
    def describe(dataset: Any) -> None:
        dataset.descriptions = ("near infrared", None)
        dataset.units = ("W/m2", "")
        dataset.scales, dataset.offsets = (0.1, 1), (5.0, 0)
        dataset.colorinterp = (ColorInterp.gray, ColorInterp.undefined)

    found = read(
        tiff_bytes(
            count=2, dtype="int16", nodata=-1, compress="deflate", edit=describe, tags={"AREA_OR_POINT": "Point"}
        )
    )
    assert (found.driver, found.shape, found.crs_code) == ("GTiff", (4, 6), "EPSG:4326")
    assert found.transform == pytest.approx(tuple(NORTH_UP)[:6])
    assert (found.compression, found.interleaving, found.area_or_point) == ("DEFLATE", "PIXEL", "Point")
    first, second = found.bands
    assert (first.data_type, first.nodata, first.name) == ("int16", -1, "near infrared")
    assert (first.unit, first.scale, first.offset) == ("W/m2", 0.1, 5.0)
    assert (second.name, second.unit, second.scale, second.offset) == (None, None, None, None)


@pytest.mark.parametrize(("value", "spelled"), [(float("nan"), "nan"), (float("inf"), "inf"), (-1.5, -1.5)])
def test_nodata_is_spelled_as_json_can_hold_it(value: float, spelled: object) -> None:
    assert read(tiff_bytes(dtype="float32", nodata=value)).bands[0].nodata == spelled


def test_nodata_of_64_bits_is_exact() -> None:
    data = tiff_bytes(dtype="uint64", nodata=1234567890123456).replace(b"1234567890123456", b"9007199254740993")
    assert read(data).bands[0].nodata == 9007199254740993


def test_a_raster_without_georeference_says_so() -> None:
    found = read(tiff_bytes(crs=None, transform=None))
    assert (found.crs_code, found.crs_wkt2, found.transform) == (None, None, None)


def test_the_crs_of_control_points_is_not_that_of_the_raster() -> None:
    points = [GroundControlPoint(row, col, col, row) for row, col in [(0, 0), (0, 6), (4, 0), (4, 6)]]
    found = read(
        tiff_bytes(crs=None, transform=None, edit=lambda dataset: setattr(dataset, "gcps", (points, "EPSG:4326")))
    )
    assert (found.crs_wkt2, found.transform, found.gcp_count) == (None, None, 4)


def test_tags_are_text_that_postgresql_takes() -> None:
    found = read(tiff_bytes(tags={"LONG": "ö" * 5000, "TIFFTAG_DATETIME": "2020:01:02 03:04:05"}))
    assert len(found.tags[""]["LONG"].encode()) == 4096
    assert "\\u0000" not in json.dumps(found.tags)


def test_only_the_header_is_read() -> None:
    data = tiff_bytes(width=2000, height=2000)
    assert read(data).bytes_read < 100_000 < len(data)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", NotARaster, "empty"),
        (b"hello", NotARaster, "hello"),
        (b"\x89PNG\r\n\x1a\n", UnsupportedFormat, "PNG"),
        (b"\xff\xd8\xff\xe0", UnsupportedFormat, "JPEG"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", UnsupportedFormat, "JPEG 2000"),
        (b"\x89HDF\r\n\x1a\n", UnsupportedFormat, "HDF5"),
        (b"\n<VRTDataset rasterXSize='1'>", UnsupportedFormat, "VRT"),
        (b"PK\x03\x04", UnsupportedFormat, "zip"),
        (b"II*\0", Corrupt, "cut off"),
        (b"II*\0\x08\0\0\0" + bytes(50), Corrupt, "GDAL cannot read the raster's header"),
    ],
)  # fmt: skip
def test_what_is_no_geotiff_is_refused_by_name(data: bytes, error: type[PermanentError], words: str) -> None:
    with pytest.raises(error, match=words):
        read(data)


def test_a_file_that_names_another_as_its_overviews_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.tif"
    secret.write_bytes(tiff_bytes())
    hostile = tiff_bytes(edit=lambda dataset: dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret)))
    with pytest.raises(UnsupportedFormat, match="never opened"):
        read(hostile)
    with pytest.raises(UnsupportedFormat), open_raster(io.BytesIO(hostile)):
        pass


class FailingFile(io.BytesIO):
    """Fails from its nth read on, as a store that goes away."""

    def __init__(self, data: bytes, *, good_reads: int) -> None:
        super().__init__(data)
        self.good_reads = good_reads

    def read(self, size: int | None = -1, /) -> bytes:
        self.good_reads -= 1
        if self.good_reads < 0:
            raise StorageUnavailable("the store does not answer")
        return super().read(size)


def test_a_store_that_fails_at_any_read_is_not_a_corrupt_file() -> None:
    data = tiff_bytes()
    outcomes = []
    for good_reads in range(200):
        try:
            read_raster_metadata(FailingFile(data, good_reads=good_reads))
            outcomes.append("read")
        except StorageUnavailable:
            outcomes.append("unavailable")
    assert outcomes[0] == "unavailable"
    assert outcomes[-1] == "read"
    assert outcomes == sorted(outcomes, reverse=True)


def test_sixteen_threads_read_what_one_reads() -> None:
    files = [tiff_bytes(width=1 + number % 64, tags={"N": str(number)}) for number in range(320)]
    alone = [read(data) for data in files]
    forget_kinds()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(read, files)) == alone


def test_the_open_raster_reads_pixels() -> None:
    with open_raster(io.BytesIO(tiff_bytes())) as dataset:
        assert dataset.read().shape == (1, 4, 6)


def test_every_sample_agrees_with_rasterio_on_what_both_say(samples: Path) -> None:
    for path in sorted((samples / "rasters").glob("*.tif")):
        if path.name == "corrupt.tif":
            continue
        found = read(path.read_bytes())
        options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
        with rasterio.Env(**options), rasterio.open(path) as dataset:
            assert found.shape == dataset.shape, path.name
            assert len(found.bands) == dataset.count, path.name
            assert found.block_shape == dataset.block_shapes[0], path.name
            assert (found.crs_wkt2 is None) == (not dataset.crs), path.name
            assert found.transform == (None if dataset.transform.is_identity else dataset.transform[:6]), path.name
            authority = dataset.crs.to_authority(confidence_threshold=100) if dataset.crs else None
            assert found.crs_code == (":".join(authority) if authority else None), path.name


def test_corrupt_tif_is_corrupt_and_says_where(samples: Path) -> None:
    with pytest.raises(Corrupt, match=r"260000 to 307086.*298232"):
        read((samples / "rasters" / "corrupt.tif").read_bytes())
