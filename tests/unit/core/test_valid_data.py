"""The outline of valid pixels in pixels: which count, how coarse, and what is refused within the budget."""

import io
from typing import Any

import numpy as np
import pytest
import shapely
from rasterio.enums import ColorInterp

from geo_assets.raster.footprint import MOST_CORNERS, ValidArea, footprint_wgs84, outline_mask, read_valid_area
from geo_assets.raster.header import read_tiff_structure
from tests.unit.core.rasters import metadata
from tests.unit.core.test_statistics import geotiff

RANDOM = np.random.default_rng(3)


def area_of(content: bytes, *, budget: int = 10_000_000, tolerance: float = 1) -> ValidArea:
    file = io.BytesIO(content)
    return read_valid_area(file, read_tiff_structure(file), budget_bytes=budget, tolerance_pixels=tolerance)


def half(**profile: Any) -> bytes:
    """200 x 300 pixels, the left half valid."""
    pixels = RANDOM.integers(1, 200, (1, 200, 300)).astype("uint8")
    pixels[:, :, 150:] = 0
    return geotiff(pixels, nodata=0, **profile)


def test_nodata_is_outside() -> None:
    area = area_of(half())
    assert area.polygons is not None
    assert area.polygons.equals(shapely.box(0, 0, 150, 200))
    assert area.note == "the valid pixels of the raster, within 1 pixels of 1/1"


def test_nan_is_outside_where_the_file_has_no_nodata() -> None:
    pixels = RANDOM.random((2, 64, 64)).astype("float32")
    pixels[:, :32] = np.nan
    pixels[0, 32:48] = np.nan  # valid in the other band
    area = area_of(geotiff(pixels))
    assert area.polygons is not None
    assert area.polygons.equals(shapely.box(0, 32, 64, 64))


def test_nan_in_one_band_and_nodata_in_the_other_is_outside() -> None:
    pixels = RANDOM.random((2, 64, 64)).astype("float32")
    pixels[0, :16], pixels[1, :16] = np.nan, -9999
    area = area_of(geotiff(pixels, nodata=-9999))
    assert area.polygons is not None
    assert area.polygons.equals(shapely.box(0, 16, 64, 64))


def test_what_is_transparent_is_outside() -> None:
    pixels = np.full((2, 64, 64), 255, "uint8")
    pixels[1, :, :16] = 0

    def edit(dataset: Any) -> None:
        dataset.colorinterp = (ColorInterp.gray, ColorInterp.alpha)

    area = area_of(geotiff(pixels, edit=edit))
    assert area.polygons is not None
    assert area.polygons.equals(shapely.box(16, 0, 64, 64))


def test_a_raster_that_is_valid_throughout_keeps_its_edges_and_says_so() -> None:
    area = area_of(geotiff(np.ones((1, 64, 64), "uint8")))
    assert area == ValidArea(None, "every pixel of the raster is valid")


def test_past_the_budget_an_overview_is_outlined_and_named() -> None:
    pixels = RANDOM.integers(1, 255, (1, 512, 512), "uint8")
    pixels[:, :256] = 0
    area = area_of(geotiff(pixels, nodata=0, overviews=True), budget=80_000)
    assert area.polygons is not None
    assert area.note == "the valid pixels of the overview at 1/2, within 1 pixels of 1/2"
    assert area.polygons.equals(shapely.box(0, 256, 512, 512))


def test_without_a_level_within_the_budget_the_edges_stay_with_the_reason() -> None:
    area = area_of(geotiff(RANDOM.integers(0, 255, (1, 512, 512), "uint8"), nodata=0), budget=80_000)
    assert area.polygons is None
    assert "the budget is 80,000" in area.note
    source = footprint_wgs84(metadata(), area).source
    assert source.startswith("raster edges, 16 points per edge, reprojected from EPSG:4326; valid pixels were not")


def test_a_block_that_would_explode_in_memory_is_refused_with_the_reason() -> None:
    content = geotiff(np.zeros((1, 9216, 9216), "uint8"), tiled=False, blockysize=9216, compress="deflate", nodata=0)
    area = area_of(content)
    assert area.polygons is None
    assert "a block needs" in area.note


def test_pixels_that_cannot_be_decoded_leave_the_edges_with_the_reason() -> None:
    content = bytearray(geotiff(RANDOM.integers(0, 255, (1, 128, 128), "uint8"), compress="deflate", nodata=0))
    content[-8000:-4000] = bytes(4000)
    area = area_of(bytes(content))
    assert area.polygons is None
    assert "cannot be read" in area.note


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_the_outline_of_noise_is_bounded_and_misses_no_pixel_by_more_than_a_coarse_one(share: float) -> None:
    mask = RANDOM.random((1500, 2100)) < share
    outline, coarseness = outline_mask(mask, tolerance_pixels=1)
    assert shapely.get_num_coordinates(outline) <= MOST_CORNERS
    rows, columns = (each[:: max(1, len(each) // 5000)] for each in np.nonzero(mask))
    assert np.all(shapely.dwithin(outline, shapely.points(columns + 0.5, rows + 0.5), 1.5 * coarseness))
    assert shapely.box(0, 0, 2100, 1500).covers(outline)


def test_one_pixel_is_outlined() -> None:
    mask = np.zeros((50, 70), bool)
    mask[49, 69] = True
    outline, _ = outline_mask(mask, tolerance_pixels=0)
    assert outline.equals(shapely.box(69, 49, 70, 50))


def test_a_coarse_pixel_at_the_end_does_not_reach_beyond_the_raster() -> None:
    mask = np.ones((1025, 3001), bool)
    mask[0, 0] = False
    outline, coarseness = outline_mask(mask, tolerance_pixels=0)
    assert coarseness == 4
    assert outline.equals(shapely.box(0, 0, 3001, 1025))
