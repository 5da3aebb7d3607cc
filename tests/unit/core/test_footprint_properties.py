"""Of any affine transform in any CRS comes a valid, counter-clockwise, in-range geometry that contains the raster's
pixels, or a typed reason; and where the raster lies in the CRS's own area, the geometry.

Where the pixels lie is what pyproj says of each centre, one by one.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from geo_assets.errors import NoFootprint
from geo_assets.models import Footprint
from geo_assets.raster.footprint import CHORD_TOLERANCE, footprint_wgs84
from tests.unit.core.rasters import metadata
from tests.unit.core.test_footprint import check_geojson

BOUND = pyproj.CRS.from_user_input("+proj=tmerc +lat_0=0 +lon_0=15 +ellps=bessel +towgs84=598,74,418,0.2,0,-2.5,6.7")

HOMES: dict[str, tuple[float, float]] = {
    "EPSG:4326": (12, 48), "OGC:CRS84": (-70, -33), "EPSG:4979": (100, 0), "EPSG:4269": (-100, 40),
    "EPSG:4807": (2, 47), "EPSG:4326+5773": (8, 47),
    "EPSG:3857": (-60, -10), "EPSG:3395": (178, 60), "EPSG:6933": (179, -35), "EPSG:32662": (-179, 20),
    "EPSG:32633": (15, 52), "EPSG:32660": (179.9, 10), "EPSG:32601": (-179.9, 65), "EPSG:32701": (180, -17),
    "EPSG:32760": (179.5, -45), "EPSG:32618+5773": (-75, 40), "EPSG:2193": (174, -41), "EPSG:27700": (-2, 54),
    "EPSG:2154": (3, 46), "EPSG:3035": (10, 52), "EPSG:5070": (-96, 38), "EPSG:3577": (134, -25),
    "EPSG:3031": (30, -90), "EPSG:3413": (-45, 89), "EPSG:3976": (180, -70), "EPSG:6931": (180, 85),
    "EPSG:6932": (0, -88), "EPSG:32661": (0, 90), "EPSG:5041": (90, 88), "EPSG:28992": (5.4, 52.2),
    "ESRI:54009": (20, 5), "ESRI:54030": (-40, -20), "+proj=sinu +R=6371007.181": (-60, 45),
    "+proj=laea +lat_0=-20 +lon_0=179 +datum=WGS84": (179, -20), "+proj=aeqd +lat_0=70 +lon_0=-150": (-150, 75),
    "+proj=omerc +lat_0=4 +lonc=115 +alpha=53 +k=0.99984": (115, 4),
    BOUND.to_wkt(): (15, 50),
}  # fmt: skip
"""CRSs and a place (longitude, latitude) in the midst of where each is used."""

# Not EPSG:6933: a raster wider than the world covers itself there.
EQUAL_AREA = ["EPSG:3035", "EPSG:6931", "EPSG:6932"]

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def transformer(source: str, target: str) -> pyproj.Transformer:
    """One way between two CRSs, easting or longitude first."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


@cache
def is_geographic(crs: str) -> bool:
    return pyproj.CRS(crs).is_geographic


@st.composite
def turned(draw: st.DrawFn, *, pixel: float, decades: float) -> Affine:
    """Pixels of up to ``pixel`` CRS units and ``decades`` less, flipped, rotated and sheared in any way."""
    width, height = (pixel * 10 ** draw(st.floats(-decades, 0)) * draw(st.sampled_from([-1, 1])) for _ in "xy")
    turn, lean = draw(st.sampled_from([0.0, 30.0, 90.0]) | st.floats(0, 360)), draw(st.just(0.0) | st.floats(-40, 40))
    return Affine.rotation(turn) @ Affine.shear(lean) @ Affine.scale(width, height)


@st.composite
def rasters(draw: st.DrawFn, crss: list[str]) -> tuple[str, Affine, tuple[int, int]]:
    """(CRS, transform, (rows, columns)) of any place on its plane and off it, from pixels of 10 m to 1,000 km."""
    crs = draw(st.sampled_from(crss))
    across, up, unit = (190, 95, 10.0) if is_geographic(crs) else (2e7, 1e7, 1e6)
    place = Affine.translation(draw(st.floats(-1, 1)) * across, draw(st.floats(-1, 1)) * up)
    return crs, place @ draw(turned(pixel=unit, decades=5)), (draw(st.integers(1, 40)), draw(st.integers(1, 40)))


@st.composite
def rasters_at_home(draw: st.DrawFn) -> tuple[str, Affine, tuple[int, int]]:
    """(CRS, transform, (rows, columns)) of a raster of at most 1.5 degrees or 150 km, centred in its CRS's own area."""
    crs, (longitude, latitude) = draw(st.sampled_from(list(HOMES.items())))
    x, y = transformer("OGC:CRS84", crs).transform(longitude, latitude)
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    side = 1.5 if is_geographic(crs) else 150_000.0
    shape = draw(turned(pixel=side / 2 / max(rows, columns), decades=3))
    return crs, Affine.translation(x, y) @ shape @ Affine.translation(-columns / 2, -rows / 2), (rows, columns)


def pixel_centres(crs: str, transform: Affine, size: tuple[int, int]) -> tuple[Any, Any]:
    """Longitudes in -180..180 and latitudes of the pixels that have a place."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    x, y = transform @ (columns.ravel(), rows.ravel())
    longitude, latitude = transformer(crs, "OGC:CRS84").transform(x, y)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    return (np.asarray(longitude)[known] + 180) % 360 - 180, np.asarray(latitude)[known]


def check_truth(footprint: Footprint, crs: str, transform: Affine, size: tuple[int, int]) -> None:
    """Valid, counter-clockwise, in range, with every pixel's centre inside, and a bbox round exactly that."""
    geometry = check_geojson(footprint)
    longitude, latitude = pixel_centres(crs, transform, size)
    allowed = 1e-4 * geometry.length + 1e-6
    assert np.all(shapely.distance(shapely.points(longitude, latitude), geometry) <= allowed)
    west, south, east, north = footprint.bbox
    assert (south, north) == pytest.approx((geometry.bounds[1], geometry.bounds[3]), abs=2e-7)
    assert -180 <= west <= 180
    assert -180 <= east <= 180
    past_west = (longitude - west) % 360
    width = (east - west) % 360 or 360
    assert np.all((past_west <= width + allowed) | (past_west >= 360 - allowed))
    whole_box = shapely.box(west, south, east, north) if west < east else shapely.union_all(
        [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    )  # fmt: skip
    assert shapely.covers(whole_box.buffer(2e-7), geometry)


@settings(slow, max_examples=300)
@given(raster=rasters_at_home())
def test_a_raster_in_the_area_of_its_crs_has_a_true_footprint(raster: Any) -> None:
    crs, transform, size = raster
    check_truth(footprint_wgs84(metadata(crs, transform, size)), crs, transform, size)


@settings(slow, max_examples=200)
@given(raster=rasters(list(HOMES)))
def test_any_affine_gives_a_true_geometry_or_a_typed_error(raster: Any) -> None:
    crs, transform, size = raster
    try:
        footprint = footprint_wgs84(metadata(crs, transform, size))
    except NoFootprint:
        return
    check_truth(footprint, crs, transform, size)


@settings(slow, max_examples=100)
@given(raster=rasters(EQUAL_AREA))
def test_in_an_equal_area_crs_the_outline_encloses_the_area_of_the_raster(raster: Any) -> None:
    crs, transform, size = raster
    try:
        geometry = check_geojson(footprint_wgs84(metadata(crs, transform, size)))
    except NoFootprint:
        return
    in_cylinder = transformer("OGC:CRS84", "EPSG:6933")
    fine = shapely.segmentize(geometry, 0.5)
    area = shapely.transform(fine, lambda xy: np.column_stack(in_cylinder.transform(xy[:, 0], xy[:, 1]))).area
    a, b, _, d, e, _ = transform[:6]
    around = 2 * (math.hypot(a, d) * size[1] + math.hypot(b, e) * size[0])
    truth = abs(transform.determinant) * size[0] * size[1]
    assert abs(area - truth) <= 0.005 * truth + CHORD_TOLERANCE * around**2


NOT_ON_EARTH = [
    "+proj=longlat +a=3396190 +b=3376200", "+proj=stere +lat_0=-90 +a=3376200 +b=3376200", "ESRI:104903",
    "IAU_2015:49900", "IAU_2015:30100", "IAU_2015:30110",
]  # fmt: skip


@settings(slow, max_examples=50)
@given(crs=st.sampled_from(NOT_ON_EARTH), transform=turned(pixel=1.0, decades=3))
def test_what_is_not_on_earth_has_no_place_on_it(crs: str, transform: Affine) -> None:
    with pytest.raises(NoFootprint, match="not the Earth"):
        footprint_wgs84(metadata(crs, transform))


@settings(slow, max_examples=15)
@given(turn=st.floats(0, 360), sweep=st.sampled_from(["x", "y"]), longitude=st.sampled_from([-75.0, 0.0, 140.7]))
def test_the_full_disk_of_a_geostationary_satellite_has_no_outline(turn: float, sweep: str, longitude: float) -> None:
    crs = f"+proj=geos +h=35786023 +lon_0={longitude} +sweep={sweep} +ellps=GRS80"
    transform = Affine.rotation(turn) @ Affine.translation(-5.5e6, 5.5e6) @ Affine.scale(110_000, -110_000)
    with pytest.raises(NoFootprint, match="no longitude and latitude"):
        footprint_wgs84(metadata(crs, transform, (100, 100)))
    near = Affine.rotation(turn) @ Affine.translation(-1e6, 1e6) @ Affine.scale(50_000, -50_000)
    check_truth(footprint_wgs84(metadata(crs, near, (40, 40))), crs, near, (40, 40))
