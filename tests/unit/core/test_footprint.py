"""Outlines against known truths, and a property: a valid, counter-clockwise, in-range geometry or a typed error."""

import math
from typing import Any

import antimeridian
import numpy as np
import pyproj
import pytest
import shapely
from rasterio.transform import Affine
from shapely.geometry import shape

from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint
from geo_assets.models import Footprint, GroundControl
from geo_assets.raster.footprint import footprint_wgs84
from tests.unit.core.rasters import metadata

Bounds = tuple[float, float, float, float]


def over(crs: str, bounds: Bounds, size: tuple[int, int] = (100, 100)) -> Footprint:
    rows, columns = size
    west, south, east, north = bounds
    transform = Affine((east - west) / columns, 0, west, 0, (south - north) / rows, north)
    return footprint_wgs84(metadata(crs, transform, size))


def check_geojson(footprint: Footprint) -> Any:
    geometry = shape(footprint.geometry)
    assert geometry.is_valid
    assert geometry.area > 0
    assert all(polygon.exterior.is_ccw for polygon in shapely.get_parts(geometry))
    west, south, east, north = geometry.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    return geometry


def iou(one: Any, other: Any) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def test_a_geographic_raster_is_its_four_corners() -> None:
    footprint = over("EPSG:4326", (10, 40, 20, 50))
    assert footprint.bbox == (10, 40, 20, 50)
    assert check_geojson(footprint).equals(shapely.box(10, 40, 20, 50))
    assert len(footprint.geometry["coordinates"][0]) == 5


@pytest.mark.parametrize(
    "bounds",
    [(-180, -90, 180, 90), (0, -90, 360, 90), (-180.25, -90.25, 179.75, 90.25), (-180, -90, 180.5, 90)],
    ids=["-180..180", "0..360", "pixel-is-point", "one column twice"],
)
def test_a_world_wide_raster_is_the_world(bounds: Bounds) -> None:
    footprint = over("EPSG:4326", bounds, (361, 720))
    assert footprint.bbox == (-180, -90, 180, 90)
    assert check_geojson(footprint).equals(shapely.box(-180, -90, 180, 90))


def test_longitudes_to_360_are_brought_back() -> None:
    assert over("EPSG:4326", (200, -10, 220, 10)).bbox == (-160, -10, -140, 10)


def test_a_raster_over_the_antimeridian_is_split_and_its_bbox_runs_from_west_to_east() -> None:
    footprint = over("EPSG:4326", (170, -10, 190, 10))
    assert footprint.bbox == (170, -10, -170, 10)
    truth = shapely.union_all([shapely.box(170, -10, 180, 10), shapely.box(-180, -10, -170, 10)])
    assert check_geojson(footprint).equals(truth)
    assert list(footprint.bbox) == antimeridian.bbox(footprint.geometry)


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:32601"])
def test_a_utm_raster_over_the_antimeridian_agrees_with_the_antimeridian_package(crs: str) -> None:
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180, 60)
    bounds = (x - 50_000, y - 50_000, x + 50_000, y + 50_000)
    footprint = over(crs, bounds)
    edge = shapely.segmentize(shapely.box(*bounds), 1000)
    back = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    ring = shapely.transform(edge, lambda xy: np.column_stack(back.transform(xy[:, 0], xy[:, 1])))
    truth = antimeridian.fix_polygon(ring, fix_winding=True)
    assert footprint.bbox[0] > 170 > -170 > footprint.bbox[2]
    assert iou(check_geojson(footprint), truth) > 0.9999


def test_web_mercator_past_its_edge_is_over_the_antimeridian() -> None:
    assert over("EPSG:3857", (19_000_000, -1e6, 21_000_000, 1e6)).bbox[0] > 170


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3031", -90), ("EPSG:3413", 90)])
def test_a_raster_round_a_pole_reaches_it_at_every_longitude(crs: str, pole: int) -> None:
    footprint = over(crs, (-2e6, -1e6, 1e6, 3e6))
    geometry = check_geojson(footprint)
    assert footprint.bbox[0] == -180
    assert footprint.bbox[2] == 180
    assert pole in footprint.bbox
    assert geometry.intersects(shapely.LineString([(-180, pole * 0.99), (180, pole * 0.99)]))
    assert geometry.covers(shapely.points(np.arange(-179, 180), np.full(359, pole * 0.99))).all()


@pytest.mark.parametrize(
    "bounds",
    [(0, 0, 1e6, 1e6), (-1e6, 0, 0, 1e6), (-1e6, -1e6, 0, 0), (0, -1e6, 1e6, 0)],
)
def test_a_polar_tile_with_the_pole_at_its_corner_spans_a_quarter_of_the_longitudes(bounds: Bounds) -> None:
    west, _, east, north = over("EPSG:3413", bounds).bbox
    assert north == 90
    assert (east - west) % 360 == pytest.approx(90)


@pytest.mark.parametrize("bounds", [(-1e6, 0, 1e6, 1e6), (-1e6, -1e6, 1e6, 0), (0, -1e6, 1e6, 1e6)])
def test_a_polar_tile_with_the_pole_on_an_edge_spans_half_of_the_longitudes(bounds: Bounds) -> None:
    west, _, east, north = over("EPSG:3413", bounds).bbox
    assert north == 90
    assert (east - west) % 360 == pytest.approx(180)


def test_a_rotated_raster_is_not_its_box() -> None:
    turned = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(30, -30)
    geometry = check_geojson(footprint_wgs84(metadata("EPSG:32633", turned, (1000, 1000))))
    assert geometry.area / shapely.box(*geometry.bounds).area == pytest.approx(
        1 / (1 + math.sin(math.pi / 3)), rel=0.02
    )


def test_a_raster_with_y_up_is_the_same_place() -> None:
    up = Affine(0.1, 0, 10, 0, 0.1, 40)
    assert footprint_wgs84(metadata("EPSG:4326", up, (10, 10))).bbox == (10, 40, 11, 41)


def test_a_compound_crs_counts_by_its_horizontal_part() -> None:
    compound, flat = over("EPSG:32618+5773", (4e5, 4e6, 5e5, 4.1e6)), over("EPSG:32618", (4e5, 4e6, 5e5, 4.1e6))
    assert compound.bbox == flat.bbox


def test_gradians_from_paris_become_degrees_from_greenwich() -> None:
    assert over("EPSG:4807", (0, 50, 1, 51)).bbox == pytest.approx((2.3366, 45.0, 3.2366, 45.9), abs=0.01)


@pytest.mark.parametrize("crs", ["EPSG:32633", "+proj=laea +lat_0=45 +lon_0=15 +x_0=500000 +y_0=5000000"])
@pytest.mark.parametrize("side", [0.1, 1.0, 10.0])
def test_a_raster_of_centimetres_keeps_its_shape(crs: str, side: float) -> None:
    check_geojson(over(crs, (500_000, 5_000_000, 500_000 + side, 5_000_000 + side), (10, 10)))


@pytest.mark.parametrize(
    ("crs", "bounds", "words"),
    [
        ("+proj=geos +h=35785831 +a=6378169 +b=6356583.8", (-5.5e6, -5.5e6, 5.5e6, 5.5e6), "no longitude"),
        ("+proj=longlat +a=3396190 +b=3376200", (0, 0, 1, 1), "not the Earth"),
        ("+proj=longlat +a=1737400 +b=1737400", (0, 0, 1, 1), "not the Earth"),
        ('ENGCRS["site",EDATUM["here"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
         (0, 0, 1, 1), "cannot be placed on the Earth"),
        ("EPSG:4326", (0, 80, 10, 100), "past the pole"),
        ("EPSG:4326", (0, 0, 1000, 10), "more than twice"),
        ("+proj=sinu +R=6371007.181", (-2.0e7, 6e6, -1.9e7, 7e6), "."),
    ],
    ids=["geostationary", "Mars", "Moon", "engineering", "latitude", "longitude", "outside sinusoidal"],
)  # fmt: skip
def test_what_has_no_place_on_the_globe_is_refused(crs: str, bounds: Bounds, words: str) -> None:
    with pytest.raises(NoFootprint, match=words):
        over(crs, bounds)


def test_a_raster_without_area_is_refused() -> None:
    with pytest.raises(NoFootprint, match="no area"):
        footprint_wgs84(metadata("EPSG:4326", Affine(0.1, 0.1, 0, 0.1, 0.1, 0)))


def test_a_raster_whose_control_points_have_no_crs_either_is_refused() -> None:
    points = GroundControl(None, ((0.0, 0.0, 1.0, 2.0),) * 12)
    with pytest.raises(MissingCrs, match="nor have its 12 ground control points"):
        footprint_wgs84(metadata(None, None, gcp_count=12, ground_control=points))


def test_a_raster_without_geotransform_is_refused() -> None:
    with pytest.raises(MissingTransform):
        footprint_wgs84(metadata("EPSG:4326", None))


@pytest.mark.parametrize("height", [5.0, 41.67, 500.0])
def test_a_strip_that_bends_more_than_it_is_high_keeps_its_pixels(height: float) -> None:
    footprint = over("EPSG:6932", (-37_500, 223_396, 37_500, 223_396 + height), (1, 18))
    geometry = check_geojson(footprint)
    back = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:6932", always_xy=True)
    plane = shapely.transform(shapely.segmentize(geometry, 1e-4), lambda xy: np.column_stack(back.transform(*xy.T)))
    assert iou(plane, shapely.box(-37_500, 223_396, 37_500, 223_396 + height)) > 0.99
