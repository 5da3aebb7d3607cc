"""JPEG 2000, PNG and JPEG: what their headers say, what is refused, and what is never opened."""

import io
import os
from contextlib import suppress

import numpy as np
import pytest

from geo_assets.errors import Corrupt, NotARaster, PermanentError, StorageUnavailable, UnsupportedFormat
from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.reading import read_metadata, read_structure
from geo_assets.raster.sniff import media_type
from tests.unit.core.formats.files import SUFFIXES, picture_bytes
from tests.unit.core.rasters import tiff_bytes


def read(data: bytes, **options: int) -> RasterMetadata:
    return read_metadata(io.BytesIO(data), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("driver", "media"), [("JP2OpenJPEG", "image/jp2"), ("PNG", "image/png"), ("JPEG", "image/jpeg")]
)
def test_a_picture_is_read_by_its_own_driver(driver: str, media: str) -> None:
    found = read(picture_bytes(driver))
    assert (found.driver, found.shape, media_type(found)) == (driver, (64, 64), media)
    assert [band.data_type for band in found.bands] == ["uint8"]
    assert found.overview_factors == ()


def test_jpeg_2000_states_its_own_place_and_the_others_state_none() -> None:
    found = read(picture_bytes("JP2OpenJPEG"))
    assert found.crs_code == "EPSG:4326"
    assert found.transform == pytest.approx((0.1, 0.0, 0.0, 0.0, -0.1, 1.0))
    assert (found.crs_source, found.transform_source) == (None, None)
    for driver in ("PNG", "JPEG"):
        found = read(picture_bytes(driver))
        assert (found.crs_wkt2, found.transform) == (None, None)


def test_the_name_of_a_file_does_not_matter() -> None:
    assert read(tiff_bytes()).driver == "GTiff"
    assert read_structure(io.BytesIO(tiff_bytes())) is not None
    assert read_structure(io.BytesIO(picture_bytes("PNG"))) is None


def test_only_the_header_of_a_large_picture_is_read() -> None:
    for driver in ("JP2OpenJPEG", "PNG"):
        data = picture_bytes(driver, size=2000)
        assert read(data).bytes_read < 50_000 < len(data)


def test_statistics_are_said_not_to_be_read() -> None:
    found = read(picture_bytes("PNG"), statistics_budget_bytes=1_000_000)
    assert found.statistics_source == "none: pixels are read of GeoTIFFs only"


@pytest.mark.parametrize("driver", ["JP2OpenJPEG", "PNG"])
def test_a_picture_that_is_cut_off_is_corrupt(driver: str) -> None:
    with pytest.raises(Corrupt, match="cut off"):
        read(picture_bytes(driver, size=200)[:-5000])


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", NotARaster, "empty"),
        (b"\x89PNG\r\n\x1a\n", Corrupt, "cut off"),
        (b"\xff\xd8\xff\xe0", Corrupt, "GDAL cannot read the raster's header"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(8), Corrupt, "GDAL cannot read the raster's header|cut off"),
        (b"<VRTDataset rasterXSize='1'>", UnsupportedFormat, "VRT.*other files"),
        (b"PK\x03\x04", UnsupportedFormat, "zip"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(data: bytes, error: type[PermanentError], words: str) -> None:
    with pytest.raises(error, match=words):
        read(data)


@pytest.mark.parametrize("driver", SUFFIXES)
def test_any_damage_is_read_or_has_a_typed_reason(driver: str) -> None:
    data, random = picture_bytes(driver), np.random.default_rng(7)
    for _ in range(100):
        damaged = bytearray(data)
        for place in random.integers(0, min(len(data), 400), 8):
            damaged[place] = random.integers(0, 256)
        with suppress(PermanentError):
            read(bytes(damaged))


class FailingFile(io.BytesIO):
    """A store that goes away after some reads."""

    reads = 3

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise StorageUnavailable("the store does not answer")
        return super().read(size)


@pytest.mark.parametrize("driver", SUFFIXES)
def test_a_store_that_fails_is_no_corrupt_picture(driver: str) -> None:
    with pytest.raises(StorageUnavailable):
        read_metadata(FailingFile(picture_bytes(driver)))


def test_a_crs_named_by_an_address_or_a_path_in_jpeg_2000_is_not_followed(tmp_path: os.PathLike[str]) -> None:
    data = picture_bytes("JP2OpenJPEG")
    named = b"http://www.opengis.net/def/crs/EPSG/0/4326"
    assert b"urn:ogc:def:crs:EPSG::4326" in data or named in data
    secret = f"{tmp_path}/crs"
    with open(secret, "w") as file:
        file.write("EPSG:3857")
    hostile = data.replace(b"\xb1\x4b\xf8\xbd\x08\x3d\x4b\x43", b"\0" * 8)  # no GeoJP2 box: the GML alone counts
    for name in (b"urn:ogc:def:crs:EPSG::4326", named):
        hostile = hostile.replace(name, secret.encode()[: len(name)].ljust(len(name)))
    assert read(hostile).crs_wkt2 is None
