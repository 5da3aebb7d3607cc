"""Headers of one kind: GDAL reads the first, and what follows for the others is what GDAL would have said."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_origin

from geo_assets.errors import GeoAssetsError
from geo_assets.models import RasterMetadata
from geo_assets.raster.header import forget_kinds, read_raster_metadata, read_tiff_structure, recall_kind
from tests.unit.core.rasters import tiff_bytes

KIND: dict[str, Any] = {"crs": "EPSG:32633", "count": 2, "dtype": "int16", "nodata": -1, "compress": "deflate"}
DATE = "TIFFTAG_DATETIME"


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    forget_kinds()


def read_by_gdal(data: bytes) -> RasterMetadata:
    forget_kinds()
    return without_bytes(read_raster_metadata(io.BytesIO(data)))


def read_by_kind(data: bytes) -> RasterMetadata | None:
    found = recall_kind(read_tiff_structure(io.BytesIO(data)))
    return without_bytes(found) if found else None


def without_bytes(metadata: RasterMetadata) -> RasterMetadata:
    return replace(metadata, bytes_read=0)


coordinates = st.floats(-1e7, 1e7, allow_nan=False)
pixels = st.floats(1e-6, 1e5, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(pixels, pixels),
    places=st.tuples(*[coordinates] * 4),
    kind_of_pixel=st.sampled_from(("Area", "Point")),
)
def test_place_and_date_are_each_rasters_own_to_the_last_bit(
    size: tuple[float, float], places: tuple[float, ...], kind_of_pixel: str
) -> None:
    def raster(west: float, north: float, date: str) -> bytes:
        tags = {"AREA_OR_POINT": kind_of_pixel, DATE: date}
        return tiff_bytes(transform=from_origin(west, north, *size), tags=tags, **KIND)

    first = raster(places[0], places[1], "2024:01:02 03:04:05")
    second = raster(places[2], places[3], "2021:11:12 13:14:15")
    expected = read_by_gdal(second)
    read_by_gdal(first)
    assert read_by_kind(second) == expected
    assert expected.tags[""][DATE] == "2021:11:12 13:14:15"


@pytest.mark.parametrize(
    "different",
    [
        {"crs": "EPSG:32634"},
        {"count": 3},
        {"dtype": "uint16", "nodata": 1},
        {"nodata": -2},
        {"compress": "lzw"},
        {"tags": {"sensor": "other"}},
        {"tags": {DATE: "last Tuesday"}},
        {"tags": {"AREA_OR_POINT": "Point"}},
        {"transform": from_origin(0, 0, 31, 30)},
        {"transform": from_origin(0, 0, 30, 30) @ Affine.rotation(20)},
        {"transform": Affine(30, 0, 0, 0, 30, 0)},
        {"width": 7},
    ],
)
def test_whatever_else_differs_is_read_by_gdal(different: dict[str, Any]) -> None:
    plain = {"transform": from_origin(0, 0, 30, 30), **KIND}
    read_by_gdal(tiff_bytes(**plain))
    assert read_by_kind(tiff_bytes(**plain)) is not None
    assert read_by_kind(tiff_bytes(**{**plain, **different})) is None


@pytest.mark.parametrize("compress", ["jpeg", "webp", "lerc"])
def test_where_gdal_looks_into_the_data_no_kind_is_told(compress: str) -> None:
    data = tiff_bytes(count=3, dtype="uint8", compress=compress)
    read_by_gdal(data)
    assert read_by_kind(data) is None


def test_control_points_are_part_of_the_kind() -> None:
    def with_points(shift: float) -> bytes:
        points = [GroundControlPoint(row, column, column + shift, row) for row, column in ((0, 0), (0, 6), (4, 6))]
        return tiff_bytes(transform=None, gcps=points)

    read_by_gdal(with_points(0))
    assert read_by_kind(with_points(0)) is not None
    assert read_by_kind(with_points(1)) is None


def test_every_sample_is_told_by_its_kind_as_by_gdal(samples: Path) -> None:
    told = 0
    for path in sorted(samples.rglob("*")):
        if path.suffix.lower() not in (".tif", ".tiff"):
            continue
        data = path.read_bytes()
        try:
            expected = read_by_gdal(data)
        except GeoAssetsError:
            continue
        found = read_by_kind(data)
        assert found in (None, expected), path.name
        told += found is not None
    assert told > 20
