"""Rings on the sphere: unwrapping longitudes, closing over poles, cutting at the antimeridian.

Here: geometry in degrees alone. Not here: CRSs and rasters (`footprint`).
"""

import math
from collections.abc import Iterator

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from geo_assets.raster.crs import Array

Bbox = tuple[float, float, float, float]

DECIMALS = (7, 10, 13)

_AT_POLE = 90.0 - 1e-9
_SLIVER = 1e-9


def forward_differences(ring: Array) -> Array:
    """From each value of a ring to the next, round to the first again."""
    return np.concatenate([ring[1:], ring[:1]]) - ring


def outline_polygons(longitude: Array, latitude: Array) -> Iterator[BaseGeometry]:
    """Every polygon the ring may mean, in degrees that may run past 180.

    A ring that goes once round the globe encloses a pole, but which one the ring alone does not tell; and an
    edge straight through a pole leaves it on either side. The caller knows points inside and chooses.
    """
    longitude, latitude = _with_both_sides_of_poles(longitude, latitude)
    steps = 180.0 - (180.0 - forward_differences(longitude)) % 360.0
    through_pole = (np.abs(np.abs(steps) - 180.0) < 1e-6) & (np.abs(latitude) > _AT_POLE)
    if not np.any(through_pole):
        yield from _polygons(longitude, latitude, steps, most_turns=1)
        return
    for sign in (1.0, -1.0):
        # A pole on the edge is not inside: the right reading goes round the globe and back.
        yield from _polygons(longitude, latitude, np.where(through_pole, sign * steps, steps), most_turns=0)


def _with_both_sides_of_poles(longitude: Array, latitude: Array) -> tuple[Array, Array]:
    """At a pole every longitude is right: the ring arrives there with one and leaves with another."""
    at_pole = np.abs(latitude) > _AT_POLE
    if not np.any(at_pole):
        return longitude, latitude
    alone = at_pole & ~np.roll(at_pole, 1) & ~np.roll(at_pole, -1)
    before, after = np.roll(longitude, 1), np.roll(longitude, -1)
    copies = np.where(alone, 2, 1)
    doubled = np.repeat(np.where(alone, before, longitude), copies)
    second = np.cumsum(copies)[alone] - 1
    doubled[second] = after[alone]
    return doubled, np.repeat(latitude, copies)


def _polygons(longitude: Array, latitude: Array, steps: Array, *, most_turns: int) -> Iterator[BaseGeometry]:
    turns = round(float(np.sum(steps)) / 360.0)
    if turns == 0:
        yield _simple(longitude[0] + np.cumsum(steps) - steps, latitude)
    elif abs(turns) <= most_turns:
        for pole in (90.0, -90.0):
            yield _closed_over(pole, longitude, latitude, steps)


def _closed_over(pole: float, longitude: Array, latitude: Array, steps: Array) -> BaseGeometry:
    """Close the ring along the meridian of its point nearest the pole: any other might cross the ring again."""
    nearest = int(np.argmin(np.abs(pole - latitude)))
    longitude, latitude, steps = (np.roll(each, -nearest) for each in (longitude, latitude, steps))
    unwrapped = longitude[0] + np.concatenate([[0.0], np.cumsum(steps)])
    return _simple(
        np.append(unwrapped, [unwrapped[-1], unwrapped[0]]),
        np.append(latitude, [latitude[0], pole, pole]),
    )


def _simple(longitude: Array, latitude: Array) -> BaseGeometry:
    """The polygon of a ring, empty where the ring crosses itself: then it is no outline of anything."""
    # A straight edge needs no points between its corners; they were needed to unwrap.
    polygon = Polygon(np.column_stack([longitude, latitude])).simplify(1e-9)
    return polygon if polygon.is_valid else Polygon()


def fold(geometry: BaseGeometry) -> tuple[BaseGeometry, Bbox]:
    """Bring a polygon of any longitudes into -180..180, cut at the antimeridian; and its RFC 7946 bbox.

    Both are rounded to 7 decimals, finer only where that would break the shape of something so small;
    the geometry is empty where no rounding keeps it.
    """
    if geometry.is_empty:
        return Polygon(), (math.nan,) * 4
    pieces, turns = _pieces(geometry)
    for decimals in DECIMALS:
        if (joined := _rounded(pieces, decimals)) is not None:
            west, south, east, north = (round(value, decimals) for value in _bbox(geometry.bounds, turns))
            return joined, (west, south, east, north)
    return Polygon(), (math.nan,) * 4


def rounded(pieces: list[Polygon]) -> BaseGeometry:
    """Polygons between -180 and 180 joined and rounded as `fold` does; empty where no rounding keeps them."""
    attempts = (_rounded(pieces, decimals) for decimals in DECIMALS)
    return next((joined for joined in attempts if joined is not None), Polygon())


def _rounded(pieces: list[Polygon], decimals: int) -> BaseGeometry | None:
    # Joined on the grid of the rounding: two pieces that meet at a meridian then meet exactly.
    joined = shapely.union_all(pieces, grid_size=10.0**-decimals)
    rounded = shapely.transform(joined, lambda xy: np.round(xy, decimals))
    area = pieces[0].area if len(pieces) == 1 else shapely.union_all(pieces).area
    if rounded.is_valid and rounded.area > 0.999 * area > 0:
        return shapely.orient_polygons(rounded)
    return None


def bbox_of_parts(geometry: BaseGeometry) -> Bbox:
    """The RFC 7946 bbox of polygons between -180 and 180: it leaves out the widest gap between them."""
    _, south, _, north = geometry.bounds
    spans = sorted((part.bounds[0], part.bounds[2]) for part in polygon_parts(geometry))
    reach = np.maximum.accumulate([east for _, east in spans])
    starts = np.array([west for west, _ in spans])
    gaps = np.append(starts[1:] - reach[:-1], starts[0] + 360.0 - reach[-1])
    widest = int(np.argmax(gaps))
    if gaps[widest] <= 0.0:
        return -180.0, south, 180.0, north
    return float(starts[(widest + 1) % len(starts)]), south, float(reach[widest]), north


def _pieces(geometry: BaseGeometry) -> tuple[list[Polygon], list[int]]:
    """The parts between -180 and 180 of each turn round the globe, brought there; and those turns."""
    west, _, east, _ = geometry.bounds
    if west > -180.0 and east < 180.0 and geometry.geom_type == "Polygon":
        return [geometry], [0]
    pieces: list[Polygon] = []
    turns: list[int] = []
    for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
        middle = 360.0 * turn
        cut = shapely.intersection(geometry, shapely.box(middle - 180.0, -90.0, middle + 180.0, 90.0))
        parts = [part for part in polygon_parts(cut) if part.area > _SLIVER * geometry.area]
        pieces += [shapely.transform(part, lambda xy, middle=middle: xy - (middle, 0.0)) for part in parts]
        turns += [turn] if parts else []
    return pieces, turns


def polygon_parts(geometry: BaseGeometry) -> list[Polygon]:
    """The polygons of a geometry, without the points and lines a cut may leave."""
    return [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]


def _bbox(unwrapped: Bbox, turns: list[int]) -> Bbox:
    west, south, east, north = unwrapped
    if east - west >= 360.0 - 1e-9:
        return -180.0, south, 180.0, north
    return max(-180.0, west - 360.0 * turns[0]), south, min(180.0, east - 360.0 * turns[-1]), north
