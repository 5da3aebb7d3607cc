"""Control points and RPCs that place a raster nowhere: each gets the reason. Good ones are in test_hard_rasters."""

import math
from typing import Any

import numpy as np
import pytest

from geo_assets.errors import NoFootprint
from geo_assets.models import Footprint, GroundControl, Refusal
from geo_assets.raster.footprint import footprint_wgs84, with_footprint
from geo_assets.raster.grids import grid_of
from tests.unit.core.rasters import metadata
from tests.unit.core.test_hard_rasters import rpcs

Point = tuple[float, float, float, float]

CORNERS: tuple[Point, ...] = ((0, 0, 10, 50), (100, 0, 11, 50), (0, 80, 10, 49), (100, 80, 11, 49))


def placed(points: Any, crs: str = "EPSG:4326", **facts: Any) -> Footprint:
    control = GroundControl(metadata(crs).crs_wkt2, tuple(points))
    subject = metadata(None, None, (80, 100), gcp_count=len(points), ground_control=control, **facts)
    return footprint_wgs84(subject)


def test_four_corners_place_a_raster() -> None:
    assert placed(CORNERS).bbox == pytest.approx((10, 49, 11, 50))


def test_points_said_twice_count_once() -> None:
    assert placed(CORNERS * 2).bbox == pytest.approx((10, 49, 11, 50))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (CORNERS[:2], "three are the fewest"),
        ([(n, n, n, n) for n in range(5)], "on one line"),
        ([(n, n * n, n, n) for n in range(5)], "on one line"),
        ([*CORNERS, (0, 0, 10.5, 50)], "contradict each other"),
        ([*CORNERS, (50, 40, math.nan, 50)], "no numbers"),
        ([*CORNERS, (50, 40, 14, 49.5)], "fold"),
        ([(0, 0, -100, 50), (100, 0, 100, 50), (0, 80, -100, 49), (100, 80, 0, 49)], "half round the globe"),
        ([(0, 20, 10, 89), (50, 20, 11, 89), (0, 30, 10, 88), (50, 30, 11, 88)], "no longitude and latitude"),
    ],
    ids=["two", "a line of pixels", "a line of places", "contradiction", "NaN", "fold", "too wide", "past the pole"],
)
def test_points_that_place_a_raster_nowhere_are_refused(points: Any, words: str) -> None:
    with pytest.raises(NoFootprint, match=words):
        placed(points)


def test_points_on_mars_are_refused() -> None:
    with pytest.raises(NoFootprint, match="not the Earth"):
        placed(CORNERS, "+proj=longlat +a=3396190 +b=3376200")


def test_points_outside_the_area_of_their_projection_are_refused() -> None:
    far = [(column, row, 2.0e7 + 1e4 * column, 9.6e6 - 1e4 * row) for column, row, _, _ in CORNERS]
    with pytest.raises(NoFootprint):
        placed(far, "EPSG:32633")


def test_a_geotransform_counts_before_control_points_and_these_before_rpcs() -> None:
    control = GroundControl(metadata().crs_wkt2, CORNERS)
    both: dict[str, Any] = {"ground_control": control, "tags": {"RPC": rpcs().to_gdal()}}
    assert grid_of(metadata(**both)).provenance("edges") == "edges, reprojected from EPSG:4326"
    assert "control points" in grid_of(metadata(None, None, **both)).provenance("edges")


def test_once_the_footprint_is_known_the_points_are_let_go() -> None:
    control = GroundControl(metadata().crs_wkt2, CORNERS)
    described = with_footprint(metadata(None, None, (80, 100), gcp_count=4, ground_control=control))
    assert isinstance(described.footprint, Footprint)
    assert described.ground_control is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"LINE_NUM_COEFF": None}, "incomplete"),
        ({"LAT_OFF": "north"}, "incomplete"),
        ({"SAMP_NUM_COEFF": "1 2 3"}, "."),
        ({"LONG_SCALE": "0"}, "scale of zero"),
        ({"LAT_OFF": "nan"}, "no number"),
        ({"LINE_SCALE": "20"}, "beyond the area"),
        ({"LINE_NUM_COEFF": " ".join(["0"] * 20)}, "."),
    ],
)
def test_rpcs_that_place_a_raster_nowhere_are_refused(change: dict[str, str | None], words: str) -> None:
    tags = {name: value for name, value in {**rpcs().to_gdal(), **change}.items() if value is not None}
    described = with_footprint(metadata(None, None, (400, 300), has_rpcs=True, tags={"RPC": tags}))
    assert isinstance(described.footprint, Refusal)
    assert described.footprint.code == "no_footprint"
    assert words in described.footprint.message


def test_random_control_points_never_give_a_false_geometry() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        points = [(c, r, x, y) for c, r, x, y in (random.random((6, 4)) * [100, 80, 5, 5]).tolist()]
        with pytest.raises(NoFootprint):
            placed(points)
