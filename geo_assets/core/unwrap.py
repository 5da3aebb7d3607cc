"""Rings on the sphere: unwrapping longitudes, closing over poles, cutting at the antimeridian.

Here: geometry in degrees alone. Not here: CRSs and rasters (`footprint`).
"""

import math
from collections.abc import Iterator

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from geo_assets.core.horizontal_crs import Array

_AT_POLE = 90.0 - 1e-9
_SLIVER = 1e-9


def outline_polygons(longitude: Array, latitude: Array) -> Iterator[BaseGeometry]:
    """Every polygon the ring may mean, in degrees that may run past 180.

    A ring that goes once round the globe encloses a pole, but which one the ring alone does not tell; and an
    edge straight through a pole leaves it on either side. The caller knows points inside and chooses.
    """
    longitude, latitude = _with_both_sides_of_poles(longitude, latitude)
    steps = 180.0 - (180.0 - (np.roll(longitude, -1) - longitude)) % 360.0
    through_pole = (np.abs(np.abs(steps) - 180.0) < 1e-6) & (np.abs(latitude) > _AT_POLE)
    for sign in (1.0, -1.0) if np.any(through_pole) else (1.0,):
        yield from _polygons(longitude, latitude, np.where(through_pole, sign * steps, steps))


def _with_both_sides_of_poles(longitude: Array, latitude: Array) -> tuple[Array, Array]:
    """At a pole every longitude is right: the ring arrives there with one and leaves with another."""
    at_pole = np.abs(latitude) > _AT_POLE
    alone = at_pole & ~np.roll(at_pole, 1) & ~np.roll(at_pole, -1)
    before, after = np.roll(longitude, 1), np.roll(longitude, -1)
    copies = np.where(alone, 2, 1)
    doubled = np.repeat(np.where(alone, before, longitude), copies)
    second = np.cumsum(copies)[alone] - 1
    doubled[second] = after[alone]
    return doubled, np.repeat(latitude, copies)


def _polygons(longitude: Array, latitude: Array, steps: Array) -> Iterator[BaseGeometry]:
    unwrapped = longitude[0] + np.concatenate([[0.0], np.cumsum(steps)])
    turns = round((unwrapped[-1] - unwrapped[0]) / 360.0)
    if turns == 0:
        yield _valid(np.column_stack([unwrapped[:-1], latitude]))
    elif abs(turns) == 1:
        ring = np.column_stack([unwrapped, np.append(latitude, latitude[0])])
        for pole in (90.0, -90.0):
            yield _valid(np.vstack([ring, [(unwrapped[-1], pole), (unwrapped[0], pole)]]))


def _valid(ring: Array) -> BaseGeometry:
    # A straight edge needs no points between its corners; they were needed to unwrap.
    return shapely.make_valid(Polygon(ring).simplify(1e-9))


def fold(geometry: BaseGeometry) -> tuple[MultiPolygon | Polygon, tuple[float, float, float, float]]:
    """Bring a polygon of any longitudes into -180..180, cut at the antimeridian; and its RFC 7946 bbox."""
    west, south, east, north = geometry.bounds
    pieces: list[Polygon] = []
    turns_used: list[int] = []
    for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
        middle = 360.0 * turn
        cut = shapely.intersection(geometry, shapely.box(middle - 180.0, -90.0, middle + 180.0, 90.0))
        parts = [part for part in _parts(cut) if part.area > _SLIVER * geometry.area]
        pieces += [shapely.transform(part, lambda xy, m=middle: xy - (m, 0.0)) for part in parts]
        turns_used += [turn] if parts else []
    folded = shapely.union_all(pieces)
    polygons = _parts(folded)
    whole = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    return whole, _bbox((west, south, east, north), turns_used)


def _parts(geometry: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]


def _bbox(unwrapped: tuple[float, float, float, float], turns: list[int]) -> tuple[float, float, float, float]:
    west, south, east, north = unwrapped
    if not turns:
        return (math.nan,) * 4
    if east - west >= 360.0 - 1e-9:
        west, east = -180.0, 180.0
    else:
        west = max(-180.0, west - 360.0 * turns[0])
        east = min(180.0, east - 360.0 * turns[-1])
    return (round(west, 7), round(south, 7), round(east, 7), round(north, 7))
