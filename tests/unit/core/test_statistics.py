"""Statistics of pixels within a budget, against numpy on the same pixels."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from geo_assets.models import RasterMetadata
from geo_assets.raster.footprint import read_valid_area
from geo_assets.raster.header import read_raster_metadata
from geo_assets.raster.io import HEADER_BUDGET_BYTES, RangeFile
from geo_assets.raster.tiff import read_structure
from geo_assets.sources.source import MOST_READ_BUDGET

RANDOM = np.random.default_rng(7)


def geotiff(
    pixels: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
    *,
    overviews: bool = False,
    edit: Callable[[Any], None] | None = None,
    **profile: object,
) -> bytes:
    """A tiled GeoTIFF of (bands, rows, columns); ``edit`` gets the open dataset."""
    bands, rows, columns = pixels.shape
    options = {
        "driver": "GTiff", "count": bands, "height": rows, "width": columns, "dtype": str(pixels.dtype),
        "crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10),
        "tiled": True, "blockxsize": 64, "blockysize": 64, **profile,
    }  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(**options) as dataset:
            if edit:
                edit(dataset)
            dataset.write(pixels)
            if overviews:
                dataset.build_overviews([2, 4, 8], Resampling.nearest)
        content: bytes = memory.read()
    return content


def described(content: bytes, *, budget: int = 10_000_000) -> RasterMetadata:
    """The metadata with statistics."""
    return read_raster_metadata(io.BytesIO(content), statistics_budget_bytes=budget)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_figures_equal_numpys(dtype: str) -> None:
    pixels = (RANDOM.random((2, 130, 90)) * 200).astype(dtype)
    metadata = described(geotiff(pixels))
    assert metadata.statistics_source == "all pixels"
    for band, values in zip(metadata.bands, pixels.astype("float64"), strict=True):
        assert band.statistics is not None
        assert band.statistics.valid_percent == 100.0
        assert band.statistics.minimum == values.min()
        assert band.statistics.maximum == values.max()
        assert band.statistics.mean == pytest.approx(values.mean(), rel=1e-12)
        assert band.statistics.stddev == pytest.approx(values.std(), rel=1e-12)


def test_nodata_nan_and_infinity_do_not_count() -> None:
    pixels = RANDOM.random((1, 64, 64)).astype("float32")
    pixels[0, :16] = -9999
    pixels[0, 16] = np.nan
    pixels[0, 17] = np.inf
    valid = pixels[0, 18:].astype("float64")
    (band,) = described(geotiff(pixels, nodata=-9999)).bands
    assert band.statistics is not None
    assert band.statistics.valid_percent == pytest.approx(100 * 46 / 64)
    assert band.statistics.mean == pytest.approx(valid.mean(), rel=1e-6)


def test_a_raster_of_nodata_alone_has_no_figures_but_its_valid_percent() -> None:
    (band,) = described(geotiff(np.zeros((1, 64, 64), "uint8"), nodata=0)).bands
    assert band.statistics is not None
    assert (band.statistics.valid_percent, band.statistics.minimum, band.statistics.mean) == (0.0, None, None)


def test_past_the_budget_the_finest_overview_that_fits_is_read_and_named() -> None:
    pixels = RANDOM.integers(0, 255, (1, 512, 512), "uint8")
    metadata = described(geotiff(pixels, overviews=True), budget=80_000)
    assert metadata.statistics_source == "the overview at 1/2"
    assert metadata.bytes_read < 262_144
    assert metadata.bands[0].statistics is not None
    assert metadata.bands[0].statistics.mean == pytest.approx(pixels.mean(), rel=0.02)


def test_without_a_level_that_fits_there_are_no_figures_and_the_reason_says_why() -> None:
    pixels = RANDOM.integers(0, 255, (1, 512, 512), "uint8")
    metadata = described(geotiff(pixels), budget=80_000)
    assert metadata.bands[0].statistics is None
    assert "the budget is 80,000" in str(metadata.statistics_source)


def test_a_small_file_with_an_exploding_block_is_refused_before_it_is_read() -> None:
    pixels = np.zeros((1, 9216, 9216), "uint8")
    content = geotiff(pixels, tiled=False, blockysize=9216, compress="deflate")
    metadata = described(content)
    assert len(content) < 200_000
    assert metadata.bands[0].statistics is None
    assert "a block needs" in str(metadata.statistics_source)


def test_complex_pixels_have_no_order_and_no_figures() -> None:
    metadata = described(geotiff(np.ones((1, 64, 64), "complex64")))
    assert metadata.bands[0].statistics is None
    assert "complex" in str(metadata.statistics_source)


def test_pixels_that_cannot_be_decoded_leave_the_header_standing() -> None:
    pixels = RANDOM.integers(0, 255, (1, 128, 128), "uint8")
    content = bytearray(geotiff(pixels, compress="deflate"))
    content[-8000:-4000] = bytes(4000)
    metadata = described(bytes(content))
    assert metadata.shape == (128, 128)
    assert metadata.bands[0].statistics is None
    assert "cannot be read" in str(metadata.statistics_source)


def test_pixels_past_what_may_be_fetched_of_a_file_leave_the_header_standing() -> None:
    """Of more than 2,048 blocks not all are looked at: an empty margin hides how large those within are."""
    pixels = np.zeros((1, 3968, 3968), "uint8")
    pixels[0, 1088:2880] = RANDOM.integers(0, 255, (1792, 3968), "uint8")
    content = geotiff(pixels, compress="deflate", nodata=0)
    ranges = RangeFile(
        lambda offset, length: content[offset : offset + length],
        name="a.tif",
        size_bytes=len(content),
        budget_bytes=2_000_000,
    )
    metadata = read_raster_metadata(ranges, statistics_budget_bytes=1_000_000)
    assert metadata.shape == (3968, 3968)
    assert metadata.bands[0].statistics is None
    assert "reading it takes more than the 2,000,000 bytes allowed" in str(metadata.statistics_source)
    area = read_valid_area(ranges, read_structure(ranges), budget_bytes=1_000_000, tolerance_pixels=1)
    assert area.polygons is None
    assert "reading it takes more than the 2,000,000 bytes allowed" in area.note


def test_the_largest_budget_leaves_room_for_the_header() -> None:
    assert MOST_READ_BUDGET + 8_000_000 < HEADER_BUDGET_BYTES


def test_nobody_asked_for_statistics_so_there_are_none() -> None:
    metadata = read_raster_metadata(io.BytesIO(geotiff(np.ones((1, 64, 64), "uint8"))))
    assert metadata.statistics_source is None
    assert metadata.bands[0].statistics is None
