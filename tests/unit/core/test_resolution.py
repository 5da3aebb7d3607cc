"""Pixel sizes in metres: stated only where the ground agrees."""

import pytest
from rasterio.transform import Affine, from_origin

from geo_assets.raster.bands import spatial_resolution_metres
from tests.unit.core.rasters import metadata


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        ("EPSG:32633", from_origin(500_000, 5_000_000, 30, 30), 30.0),
        ("EPSG:3035", from_origin(4_321_000, 3_210_000, 100, 100), 100.0),
        ("EPSG:3413", from_origin(-1_000_000, -1_000_000, 10, 10), None),  # true scale is at 70 N, 5 degrees away
        ("EPSG:3857", from_origin(0, 50_000, 10, 10), 10.0),  # at the equator
        ("EPSG:3857", from_origin(0, 8_400_000, 10, 10), None),  # at 60 N: 5 m on the ground
        ("EPSG:4326", from_origin(10, 50, 0.001, 0.001), None),
        ("EPSG:32633", from_origin(500_000, 5_000_000, 30, 20), None),
        ("EPSG:2263", from_origin(980_000, 200_000, 30, 30), None),  # feet
        ("EPSG:32633", Affine(30, 5, 500_000, 0, -30, 5_000_000), None),  # sheared
        (None, from_origin(500_000, 5_000_000, 30, 30), None),
        ("EPSG:32633", None, None),
    ],
)
def test_the_pixel_size_counts_where_it_holds_on_the_ground(
    crs: str | None, transform: Affine | None, expected: float | None
) -> None:
    assert spatial_resolution_metres(metadata(crs, transform)) == expected


def test_a_rotated_square_pixel_is_as_long_as_its_side() -> None:
    rotated = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(30, -30)
    assert spatial_resolution_metres(metadata("EPSG:32633", rotated)) == pytest.approx(30)


def test_a_raster_larger_than_the_area_where_the_scale_is_true_states_none() -> None:
    tall = metadata("EPSG:3857", from_origin(0, 50_000, 10_000, 10_000), (1000, 10))
    assert spatial_resolution_metres(tall) is None


def test_the_moon_has_no_metres_of_the_earth() -> None:
    moon = "+proj=eqc +R=1737400 +units=m +no_defs"
    assert spatial_resolution_metres(metadata(moon, from_origin(0, 0, 100, 100))) is None
