"""Vectors across 180 degrees: cut in the plane, with the area, length and points that they have in their own CRS."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import from_wkt
from shapely.geometry.base import BaseGeometry

from geo_assets.vectors.reprojection import UnplaceableShape
from tests.vectors import normalise

DEGREE = 20_037_508.342789244 / 180
"""Metres of Web Mercator."""
WORLD = shapely.box(-180, -90, 180, 90)
Floats = npt.NDArray[np.float64]


def mercator(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """A box of degrees in Web Mercator."""
    low, high = (math.asinh(math.tan(math.radians(each))) * math.degrees(DEGREE) for each in (south, north))
    return shapely.box(west * DEGREE, low, east * DEGREE, high)


def placed(geometry: BaseGeometry, *, crs: int = 4326, **rule: Any) -> BaseGeometry:
    """What one geometry becomes: valid, on the Earth, and of the kind it was."""
    (made,), _ = normalise([geometry], crs=crs, **rule)
    assert made is not None
    assert made.is_valid
    assert WORLD.covers(made)
    assert made.geom_type.removeprefix("Multi") == geometry.geom_type.removeprefix("Multi")
    return made


def test_a_box_across_180_keeps_its_latitudes_and_its_area() -> None:
    made = placed(shapely.box(170, 50, 190, 60))
    assert made.equals(shapely.union_all([shapely.box(170, 50, 180, 60), shapely.box(-180, 50, -170, 60)]))
    assert (made.area, made.bounds) == (200, (-180, 50, 180, 60))


def test_a_box_that_is_wider_than_half_the_earth_does_not_become_the_rest_of_it() -> None:
    made = placed(mercator(-170, -60, 170, 60), crs=3857)
    assert made.area == pytest.approx(40_800, rel=1e-9)
    assert made.contains(shapely.Point(0, 0))
    assert not made.intersects(shapely.Point(175, 0))


@pytest.mark.parametrize("edge", [180, 180.000_000_05, 179.999_999_9])
def test_antarctica_in_web_mercator_stays_as_it_is(edge: float) -> None:
    continent = mercator(-edge, -85.05, edge, -60).union(mercator(-70, -60, -55, -55))
    (made,), tally = normalise([continent], crs=3857)
    assert made is not None
    assert made.is_valid
    assert made.area == pytest.approx(360 * 25.05 + 15 * 5, rel=1e-8)
    assert len(made.exterior.coords) == len(continent.exterior.coords)
    assert not made.contains(shapely.Point(10, 51))
    assert tally.split == 0


def test_a_polygon_over_180_of_a_projected_file_is_cut_there() -> None:
    box = shapely.box(3_000_000, 0, 3_600_000, 500_000)
    (made,), tally = normalise([box], crs=3832)  # centred on 150 degrees east
    assert made is not None
    assert len(made.geoms) == 2
    assert (tally.split, tally.types) == (1, {"MultiPolygon": 1})
    assert made.bounds[::2] == (-180, 180)
    assert made.area == pytest.approx(600_000 / DEGREE * made.bounds[3], rel=1e-9)


@pytest.mark.parametrize(
    ("line", "length", "parts"),
    [
        ("LINESTRING (170 10, 190 10)", 20, 2),
        ("MULTILINESTRING ((170 0, 190 0), (1 1, 2 1))", 21, 3),
        ("LINESTRING (0 0, 1080 0)", None, 0),
        ("LINESTRING (0 0, 700 0)", 700, 3),
        ("LINESTRING (350 0, 360 0, 370 0)", 20, 1),
        ("LINESTRING (170 0, 180 0, 180 5, 190 5)", 25, 2),
        ("LINESTRING (170 0, 180 0, 180 5, 170 5, 190 7)", 10 + 5 + 10 + math.hypot(20, 2), 2),
        ("LINESTRING (-170 0, -190 0)", 20, 2),
    ],
)
def test_a_line_over_180_is_cut_there(line: str, length: float | None, parts: int) -> None:
    if length is None:
        _, tally = normalise([from_wkt(line)], crs=4326)
        assert tally.rejected == {"latitude beyond a pole, or longitude beyond two turns": 1}
        return
    made = placed(from_wkt(line))
    assert made.length == pytest.approx(length, rel=1e-12)
    assert shapely.get_num_geometries(made) == parts


def test_a_line_along_180_is_one_and_on_the_side_it_came_from() -> None:
    made = placed(from_wkt("MULTILINESTRING ((170 0, 180 0, 180 5, 170 5), (190 0, 195 0))"))
    assert made.equals(from_wkt("MULTILINESTRING ((170 0, 180 0, 180 5, 170 5), (-170 0, -165 0))"))


@pytest.mark.parametrize("shift", [-360, 0, 360])
def test_a_polygon_with_a_hole_beyond_180_is_cut_with_its_hole(shift: int) -> None:
    ring, hole = shapely.box(170 + shift, 0, 190 + shift, 10), shapely.box(175 + shift, 2, 185 + shift, 8)
    assert placed(ring.difference(hole)).area == 200 - 60
    beyond = shapely.box(185 + shift, 2, 188 + shift, 8)
    made = placed(ring.difference(beyond))
    assert made.area == 200 - 18
    assert not made.intersects(shapely.Point(-173.5, 5))


def test_what_lies_beyond_180_as_a_whole_is_only_moved() -> None:
    (made,), tally = normalise([shapely.box(190, 0, 200, 10)], crs=4326)
    assert made is not None
    assert made.equals(shapely.box(-170, 0, -160, 10))
    assert tally.split == 0


def test_boxes_of_0_to_360_lie_where_they_are_meant() -> None:
    made = placed(shapely.box(0, -80, 360, 80))
    assert made.equals(shapely.box(-180, -80, 180, 80))
    assert placed(mercator(0, -80, 360, 80), crs=3857).area == pytest.approx(57_600, rel=1e-9)
    collection = from_wkt("GEOMETRYCOLLECTION (POINT (190 1), LINESTRING (170 1, 190 1), POLYGON EMPTY)")
    expected = from_wkt("GEOMETRYCOLLECTION (POINT (-170 1), MULTILINESTRING ((170 1, 180 1), (-180 1, -170 1)))")
    assert placed(collection).equals(expected)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("POINT (190 1)", "POINT (-170 1)"),
        ("POINT (180 1)", "POINT (180 1)"),
        ("POINT (-180 1)", "POINT (-180 1)"),
        ("MULTIPOINT (-190 1, 5 5, 365 2)", "MULTIPOINT (170 1, 5 5, 5 2)"),
    ],
)
def test_points_are_wrapped(points: str, expected: str) -> None:
    assert placed(from_wkt(points)).equals_exact(from_wkt(expected), 0)


def test_heights_and_measures_are_those_of_the_edge_where_it_is_cut() -> None:
    line = placed(from_wkt("LINESTRING ZM (170 0 0 10, 190 0 100 20)"), dimensions="keep")
    assert line.wkt == "MULTILINESTRING ZM ((170 0 0 10, 180 0 50 15), (-180 0 50 15, -170 0 100 20))"
    measured = placed(from_wkt("LINESTRING M (170 0 10, 190 0 20)"), dimensions="keep")
    assert measured.wkt == "MULTILINESTRING M ((170 0 10, 180 0 15), (-180 0 15, -170 0 20))"
    ring = placed(
        from_wkt("POLYGON ZM ((170 0 0 1, 190 0 100 2, 190 10 100 2, 170 10 0 1, 170 0 0 1))"), dimensions="keep"
    )
    at = shapely.get_coordinates(ring, include_z=True, include_m=True)
    assert np.array_equal(at[:, 2], np.where(np.abs(at[:, 0]) == 180, 50, np.where(at[:, 0] == 170, 0, 100)))
    assert np.array_equal(at[:, 3], np.where(np.abs(at[:, 0]) == 180, 1.5, np.where(at[:, 0] == 170, 1, 2)))


def test_heights_and_measures_stay_when_points_are_added_to_a_reprojected_edge() -> None:
    for dimensions in ("Z", "M", "ZM"):
        more = " 0 0"[: 2 * len(dimensions)], " 100 100"[: 4 * len(dimensions)]
        line = from_wkt(f"LINESTRING {dimensions} (-1500000 500000{more[0]}, -2500000 900000{more[1]})")
        made = placed(line, crs=3338, dimensions="keep")
        assert (made.has_z, made.has_m) == ("Z" in dimensions, "M" in dimensions)
        at = shapely.get_coordinates(made, include_z="Z" in dimensions, include_m="M" in dimensions)
        x, _ = pyproj.Transformer.from_crs(4326, 3338, always_xy=True).transform(at[:, 0], at[:, 1])
        assert len(at) > 100
        assert np.abs(at[:, 2:].T - (-1.5e6 - x) / 1e4).max() < 1e-4


def test_a_bow_tie_across_180_is_repaired_and_then_cut() -> None:
    (made,), tally = normalise([from_wkt("POLYGON ((178 0, 183 5, 183 0, 178 5, 178 0))")], crs=4326)
    assert made is not None
    assert (made.area, tally.repaired, tally.split) == (12.5, 1, 1)


def test_what_is_left_at_the_seam_is_no_sliver() -> None:
    made = placed(shapely.box(170, 0, 180 + 5e-10, 10))
    assert made.equals(shapely.box(170, 0, 180, 10))
    line = placed(from_wkt("LINESTRING (170 0, 180.0000000005 0)"))
    assert line.equals(from_wkt("LINESTRING (170 0, 180 0)"))
    assert placed(shapely.box(175, 80, 185, 90 + 5e-10)).bounds[3] == 90
    islet = shapely.box(180.001, 0, 180.001_000_01, 1e-8)
    assert shapely.get_num_geometries(placed(shapely.MultiPolygon([shapely.box(0, 0, 100, 50), islet]))) == 2


def test_parts_that_meet_only_once_they_are_moved_are_joined() -> None:
    parts = shapely.MultiPolygon(
        [shapely.box(160, 0, 170, 10), shapely.box(-190, 0, -180, 10), shapely.box(530, 5, 535, 15)]
    )
    assert placed(parts).equals(shapely.box(160, 0, 180, 10).union(shapely.box(170, 5, 175, 15)))


def test_empty_and_missing_geometries_stay_so_beside_one_that_is_cut() -> None:
    made, _ = normalise([shapely.box(170, 0, 190, 1), from_wkt("POLYGON EMPTY"), None], crs=4326)
    assert made[1] is not None
    assert made[1].is_empty
    assert made[2] is None


@pytest.mark.parametrize("crs", [3031, 3995, 3413])
def test_a_ring_round_a_pole_reaches_it(crs: int) -> None:
    pole = -90 if crs == 3031 else 90
    disc = shapely.Point(0, 0).buffer(2e6)
    made = placed(disc, crs=crs)
    assert all(made.intersects(shapely.Point(longitude, pole)) for longitude in (-180, -90, 0, 90, 180))
    assert made.contains(shapely.Point(13, pole * 0.99))
    # A pole is as far from a latitude on every meridian.
    edges = [abs(pole - part) for part in made.bounds[1::2] if part != pole]
    assert made.area == pytest.approx(360 * edges[0], rel=2e-3)
    ring = placed(disc.difference(shapely.Point(0, 0).buffer(1e6)), crs=crs)
    assert not ring.intersects(shapely.Point(13, pole))
    assert ring.area == pytest.approx(made.area - placed(shapely.Point(0, 0).buffer(1e6), crs=crs).area, rel=1e-9)


@pytest.mark.parametrize(
    ("crs", "rings"),
    [
        (3031, "((-1e6 -1e6{0}, 1e6 -1e6{0}, 1e6 1e6{0}, -1e6 1e6{0}, -1e6 -1e6{0}))"),
        (3031, "((0 0{0}, 1e6 0{0}, 1e6 1e6{0}, 0 0{0}), (5e5 2e5{0}, 6e5 3e5{0}, 6e5 2e5{0}, 5e5 2e5{0}))"),
        (4326, "((160 0{0}, 200 0{0}, 200 10{0}, 160 0{0}), (170 1{0}, 190 1{0}, 190 2{0}, 170 1{0}))"),
    ],
)
def test_no_height_or_measure_is_lost_at_a_pole_or_a_seam(crs: int, rings: str) -> None:
    for dimensions, more in (("Z", " 3"), ("M", " 3"), ("ZM", " 3 3")):
        made = placed(from_wkt(f"POLYGON {dimensions} {rings.format(more)}"), crs=crs, dimensions="keep")
        assert (made.has_z, made.has_m) == ("Z" in dimensions, "M" in dimensions)
        assert np.all(shapely.get_coordinates(made, include_z=made.has_z, include_m=made.has_m)[:, 2:] == 3)


def test_a_polygon_with_the_pole_on_its_outline_reaches_it() -> None:
    quarter = placed(shapely.box(0, 0, 1e6, 1e6), crs=3031)
    assert quarter.bounds[:3] == (0, -90, 90)
    half = placed(shapely.box(-1e6, 0, 1e6, 1e6), crs=3031)
    whole = placed(shapely.box(-1e6, -1e6, 1e6, 1e6), crs=3031)
    assert half.bounds[:3] == (-90, -90, 90)
    assert 4 * quarter.area == pytest.approx(2 * half.area, rel=1e-6) == pytest.approx(whole.area, rel=1e-6)
    line = placed(shapely.LineString([(-1e6, 0), (1e6, 0)]), crs=3031)
    assert [part.bounds[::2] for part in line.geoms] == [(-90, -90), (90, 90)]


def test_a_polygon_that_is_torn_apart_is_refused_with_where() -> None:
    across_the_seam_of_3832 = shapely.box(-35, 0, -25, 10)
    sound = shapely.box(0, 0, 1, 1)
    with pytest.raises(UnplaceableShape, match="an edge jumps from") as refusal:
        normalise([sound, across_the_seam_of_3832], crs=4326, target_crs="EPSG:3832")
    assert refusal.value.index == 1
    figure = from_wkt("POLYGON ((0 0, 1e6 1e6, 1e6 -1e6, 0 0, -1e6 -1e6, -1e6 1e6, 0 0))").buffer(0)
    twice = from_wkt("LINESTRING (0 0, 1e6 0)")
    assert placed(twice, crs=3995).length > 0
    assert placed(figure, crs=3995).area > 0


def test_a_layer_in_degrees_is_cut_before_a_crs_that_ends_at_180() -> None:
    (made,), _ = normalise([shapely.box(170, 0, 190, 10)], crs=4326, target_crs="EPSG:3857")
    assert made is not None
    assert made.area == pytest.approx(mercator(170, 0, 190, 10).area, rel=1e-9)
    chatham, there = shapely.box(2.1e6, 5.0e6, 2.6e6, 5.2e6), shapely.box(1.4e6, 5.0e6, 1.5e6, 5.2e6)
    (across, beside), tally = normalise([chatham, there], crs=2193, target_crs="EPSG:3857")
    assert across is not None
    assert beside is not None
    assert shapely.get_num_geometries(across) == 2
    assert across.area == pytest.approx(5 * beside.area, rel=0.05)
    assert tally.split == 1
    (kept,), _ = normalise([shapely.box(179, 0, 181, 10)], crs=4326, target_crs="EPSG:32601")
    assert kept is not None
    assert shapely.get_num_geometries(kept) == 1


def test_short_edges_far_from_180_stay_as_they_are() -> None:
    fields = [shapely.box(4e5 + x, 5e6, 4e5 + x + 900, 5e6 + 900) for x in range(0, 9_000, 1_000)]
    made, _ = normalise(fields, crs=32632)
    assert shapely.get_num_coordinates(np.array(made)).tolist() == [5] * 9
    (tile,), _ = normalise([shapely.box(4e5, 5e6, 5e5, 5.1e6)], crs=32632)
    assert tile is not None
    assert shapely.get_num_coordinates(tile) > 50


def test_what_is_kept_whole_runs_on_past_180() -> None:
    (made,), _ = normalise([mercator(170, 0, 190, 10)], crs=3857, antimeridian="keep")
    assert made is not None
    assert made.area == pytest.approx(200, rel=1e-9)
    assert made.bounds[2] - made.bounds[0] == pytest.approx(20)


@dataclass(frozen=True)
class Region:
    """Where shapes are drawn: the middle of one, its half width and height, in units of the CRS."""

    crs: int
    x: tuple[float, float]
    y: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]


REGIONS = [
    Region(4326, (-500, 500), (-60, 60), (1, 170), (1, 25)),
    Region(3857, (-400 * DEGREE, 700 * DEGREE), (-6e6, 6e6), (2 * DEGREE, 170 * DEGREE), (3e5, 4e6)),
    Region(3832, (-60 * DEGREE, 220 * DEGREE), (-6e6, 6e6), (2 * DEGREE, 170 * DEGREE), (3e5, 4e6)),
    Region(3338, (-2.6e6, 0), (3e5, 2.2e6), (2e5, 1e6), (2e5, 1e6)),
    Region(32601, (-2e5, 1.2e6), (0, 7e6), (1e5, 6e5), (1e5, 1e6)),
]
shares = st.floats(0, 1)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, BaseGeometry]:
    """A CRS and a polygon with a hole, a line, points, or several, with heights that follow from y."""
    region = draw(st.sampled_from(REGIONS))

    def between(bounds: tuple[float, float]) -> float:
        return bounds[0] + draw(shares) * (bounds[1] - bounds[0])

    middle = np.array([between(region.x), between(region.y)])
    half = np.array([between(region.width), between(region.height)])
    number = draw(st.integers(3, 8))
    angles = (
        2
        * np.pi
        * (np.arange(number) + np.array(draw(st.lists(st.floats(0, 0.4), min_size=number, max_size=number))))
        / number
    )
    radii = np.array(draw(st.lists(st.floats(0.5, 1), min_size=number, max_size=number)))
    star = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    kind = draw(st.sampled_from(["polygon", "holed", "multipolygon", "line", "multiline", "points", "point"]))
    several = kind.startswith("multi")
    scales = [(0.45, np.array([-0.5, 0])), (0.45, np.array([0.5, 0]))] if several else [(1.0, np.zeros(2))]
    parts = [with_heights(middle + half * (offset + scale * star)) for scale, offset in scales]
    if "line" in kind:
        lines = [shapely.linestrings(part) for part in parts]
        return region.crs, shapely.multilinestrings(lines) if several else lines[0]
    if "point" in kind:
        return region.crs, shapely.multipoints(shapely.points(parts[0])) if kind == "points" else shapely.points(
            parts[0][0]
        )
    hole = with_heights(middle + half * star * 0.2)
    polygons = [shapely.polygons(part, holes=[hole] if kind == "holed" and number > 3 else None) for part in parts]
    return region.crs, shapely.multipolygons(polygons) if several else polygons[0]


def with_heights(xy: Floats) -> Floats:
    """x, y and a height that is the thousandth of y."""
    return np.column_stack([xy, xy[:, 1] / 1000])


def densely(ring: Floats, crs: int) -> Floats:
    """A path in degrees that never jumps: 2,000 points an edge, each placed by itself, then unwrapped."""
    along = np.linspace(0, 1, 2_000, endpoint=False)[:, None]
    points = np.concatenate([*(a + along * (b - a) for a, b in pairwise(ring)), ring[-1:]])
    if crs == 4326:
        return points
    x, y = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(points[:, 0], points[:, 1])
    return np.column_stack([np.unwrap(x, period=360), y])


def truth(geometry: BaseGeometry, crs: int) -> BaseGeometry:
    """The geometry in the plane of degrees, before any cut."""
    parts = []
    for part in shapely.get_parts(geometry):
        if part.geom_type == "LineString":
            parts.append(shapely.linestrings(densely(shapely.get_coordinates(part), crs)))
        elif part.geom_type == "Polygon":
            shell, *holes = (densely(shapely.get_coordinates(ring), crs) for ring in shapely.get_rings(part))
            for hole in holes:
                hole[:, 0] += 360 * round((np.mean(shell[:, 0]) - np.mean(hole[:, 0])) / 360)
            parts.append(shapely.polygons(shell, holes=holes or None))
    return shapely.union_all(parts) if parts and parts[0].geom_type == "Polygon" else shapely.multilinestrings(parts)


@settings(max_examples=100, deadline=None)
@given(shapes(), st.integers(0, 2**32))
def test_area_length_and_points_stay_what_they_are_in_the_plane(drawn: tuple[int, BaseGeometry], seed: int) -> None:
    crs, geometry = drawn
    made = placed(geometry, crs=crs, dimensions="keep")
    heights = shapely.get_coordinates(made, include_z=True)
    _, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(heights[:, 0], heights[:, 1])
    assert np.abs(heights[:, 2] - np.asarray(y) / 1000).max() < 0.01
    if "Point" in geometry.geom_type:
        before, after = shapely.get_coordinates(geometry), heights[:, :2]
        x, y = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(before[:, 0], before[:, 1])
        off = np.column_stack([(after[:, 0] - x + 180) % 360 - 180, after[:, 1] - y])
        assert np.abs(off).max() < 1e-9
        return
    plane = truth(shapely.force_2d(geometry), crs)
    if "Polygon" not in geometry.geom_type:
        assert made.length == pytest.approx(plane.length, rel=1e-6)
        return
    assert made.area == pytest.approx(plane.area, rel=1e-6)
    west, south, east, north = plane.bounds
    points = np.random.default_rng(seed).uniform((west - 5, south - 1), (east + 5, north + 1), (50, 2))
    inside = np.zeros(50, dtype=bool)
    near = np.zeros(50, dtype=bool)
    for turn in (-360, 0, 360):
        moved = shapely.points(points + np.array([turn, 0]))
        inside |= shapely.contains(plane, moved)
        near |= shapely.distance(plane.boundary, moved) < 1e-5
    wrapped = np.column_stack([(points[:, 0] + 180) % 360 - 180, points[:, 1]])
    assert wrapped[~near & (shapely.contains_xy(made, wrapped) != inside)].tolist() == []
