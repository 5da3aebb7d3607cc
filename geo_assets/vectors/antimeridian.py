"""Geometries cut at the antimeridian: in the plane, at 180 degrees and each turn from there, and moved into -180..180.

Here: degrees alone. A straight edge stays straight, and heights and measures are interpolated where it is cut. Not
here: how longitudes became continuous (`reprojection`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.vectors.paths import (
    LINE,
    MULTIPOINT,
    POINT,
    POLYGON,
    TURN,
    Floats,
    Geometries,
    Integers,
    Mask,
    Paths,
    change_paths,
    paths_of,
)

_FAR = 100.0
"""A latitude beyond the poles: boxes to cut with have no corner in a geometry."""


def is_beyond(geometries: Geometries) -> Mask:
    """Which geometries reach beyond 180 degrees or a pole, however little."""
    west, south, east, north = shapely.bounds(geometries).T
    beyond: Mask = (west < -180.0) | (east > 180.0) | (south < -90.0) | (north > 90.0)
    return beyond


def crosses_antimeridian(geometries: Geometries, *, slack: float) -> Mask:
    """Which geometries lie on both sides of the antimeridian, by more than ``slack``."""
    first, last = _turns_of(geometries, slack)
    crosses: Mask = first != last
    return crosses


def _turns_of(geometries: Geometries, slack: float) -> tuple[Integers, Integers]:
    """The first and the last turn round the Earth that each geometry lies in; the one of -180..180 is 0."""
    west, _, east, _ = shapely.bounds(geometries).T
    first = np.floor((west + slack + 180.0) / TURN).astype(np.int64)
    return first, np.maximum(first, np.ceil((east - slack - 180.0) / TURN).astype(np.int64))


def cut_at_antimeridian(geometries: Geometries, *, slack: float) -> Geometries:
    """The geometries within -180..180, cut where they cross; degrees that reach beyond by no more than ``slack`` go.

    Polygons and lines become Multi if they are cut into several parts, and Multis stay what they are.
    """
    return change_paths(geometries, lambda _, paths: _cut(paths, slack))


def _cut(paths: Paths, slack: float) -> Geometries:
    if paths.kind in (POINT, MULTIPOINT):
        return _clipped(paths.moved(_wrapped(paths.coordinates[:, :2]))).build()
    return _cut_polygons(paths, slack) if paths.is_polygonal else _cut_lines(paths, slack)


def _wrapped(xy: Floats) -> Floats:
    """Points within -180..180: one that is already within stays."""
    turns = np.ceil((np.abs(xy[:, 0]) - 180.0) / TURN) * np.sign(xy[:, 0])
    return np.column_stack([xy[:, 0] - TURN * turns, xy[:, 1]])


def _clipped(paths: Paths) -> Paths:
    return paths.moved(np.clip(paths.coordinates[:, :2], (-180.0, -90.0), (180.0, 90.0)))


def _with_seams(paths: Paths) -> Paths:
    """The paths with a point wherever an edge crosses 180 degrees or a turn from there."""
    x = paths.coordinates[:, 0]
    low, high = np.minimum(x[:-1], x[1:]), np.maximum(x[:-1], x[1:])
    first = np.floor((low - 180.0) / TURN).astype(np.int64) + 1
    crossed = np.ceil((high - 180.0) / TURN).astype(np.int64) - first
    edges = np.flatnonzero(paths.edges() & (crossed > 0))
    number = crossed[edges]
    nth = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    edges = np.repeat(edges, number)
    eastward = x[edges + 1] > x[edges]
    seams = 180.0 + TURN * np.where(eastward, first[edges] + nth, first[edges] + crossed[edges] - 1 - nth)
    begin, end = paths.coordinates[edges], paths.coordinates[edges + 1]
    shares = (seams - begin[:, 0]) / (end[:, 0] - begin[:, 0])
    latitudes = begin[:, 1] + shares * (end[:, 1] - begin[:, 1])
    return paths.with_points(edges, shares, np.column_stack([seams, latitudes]))


def _cut_lines(paths: Paths, slack: float) -> Geometries:
    owners, number = paths.owners(), len(paths.offsets[-1]) - 1
    paths = _with_seams(paths)
    segments = np.flatnonzero(paths.edges())
    x = paths.coordinates[:, 0]
    path = np.searchsorted(paths.starts, segments, side="right") - 1
    turns = _turns(x[segments], x[segments + 1], path)
    goes_on = (path[1:] == path[:-1]) & (turns[1:] == turns[:-1])
    begins = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    ends = np.append(begins[1:], len(segments))
    # The points that the segments of a run begin at, and the one that its last segment ends at.
    kept = np.insert(segments, ends, segments[ends - 1] + 1)
    starts = np.append(begins, len(segments)) + np.arange(len(begins) + 1)
    shift = np.repeat(TURN * turns[begins], np.diff(starts))
    coordinates = paths.coordinates[kept]
    coordinates[:, 0] -= shift
    runs = _clipped(replace(paths, kind=LINE, coordinates=coordinates, offsets=(starts,))).build()
    of = owners[path[begins]]
    # A run as short as the slack is what an edge on the seam leaves beyond it, unless it is all there is.
    lengths = shapely.length(runs)
    longest = np.zeros(number)
    np.maximum.at(longest, of, lengths)
    stays = (lengths > slack) | (longest[of] <= slack)
    return _joined(runs[stays], of[stays], number, single=paths.kind == LINE, build=shapely.multilinestrings)


def _turns(begin: Floats, end: Floats, path: Integers) -> Floats:
    """The turn that each segment lies in; one that runs along a seam goes with the segment before it, or after it."""
    middle = (begin + end) / 2.0 + 180.0
    turns: Floats = np.floor(middle / TURN)
    along = (begin == end) & (middle % TURN == 0.0)
    turns[along & (turns > 0)] -= 1.0
    for step in (1, -1) if along.any() else ():
        for index in np.flatnonzero(along)[::step]:
            beside = index - step
            if 0 <= beside < len(path) and path[beside] == path[index] and not along[beside]:
                turns[index], along[index] = turns[beside], False
    return turns


def _cut_polygons(paths: Paths, slack: float) -> Geometries:
    number = len(paths.offsets[-1]) - 1
    polygons, of = shapely.get_parts(paths.build(), return_index=True)
    there = ~shapely.is_empty(polygons)
    polygons, of = polygons[there], of[there]
    first, last = _turns_of(polygons, slack)
    whole = first == last
    pieces, owners = [_moved(polygons[whole], first[whole])], [of[whole]]
    polygons, of, first, last = polygons[~whole], of[~whole], first[~whole], last[~whole]
    if len(polygons):
        polygons = _with_seams(paths_of(polygons)).build()
    for turn in range(int(first.min()), int(last.max()) + 1) if len(polygons) else ():
        at = np.flatnonzero((first <= turn) & (turn <= last))
        box = shapely.box(TURN * turn - 180.0, -_FAR, TURN * turn + 180.0, _FAR)
        parts, part_of = _polygons_of(shapely.intersection(polygons[at], box))
        west, _, east, _ = shapely.bounds(parts).T
        stays = east - west > slack
        pieces.append(_moved(parts[stays], np.full(int(stays.sum()), turn)))
        owners.append(of[at][part_of][stays])
    single = paths.kind == POLYGON
    made = _joined(np.concatenate(pieces), np.concatenate(owners), number, single=single, build=shapely.multipolygons)
    for index in np.flatnonzero(~shapely.is_valid(made) & ~shapely.is_missing(made)):
        # Parts from different turns may meet, or lie on each other.
        made[index] = union_of_polygons(shapely.get_parts(made[index]))
    return made


def union_of_polygons(polygons: Geometries) -> BaseGeometry:
    """One MultiPolygon of these polygons of -180..180, which may meet or overlap."""
    joined, _ = _polygons_of(np.array([shapely.union_all(polygons)], dtype=object))
    made: BaseGeometry = shapely.multipolygons(_moved(joined, np.zeros(len(joined), dtype=np.int64)))
    return made


def _polygons_of(geometries: Geometries) -> tuple[Geometries, Integers]:
    """The polygons among the parts of what a cut gave, and of which each is a part."""
    parts, of = shapely.get_parts(geometries, return_index=True)
    inner, of_parts = shapely.get_parts(parts, return_index=True)
    polygonal = (shapely.get_type_id(inner) == POLYGON) & ~shapely.is_empty(inner)
    return inner[polygonal], of[of_parts][polygonal]


def _moved(polygons: Geometries, turns: Integers) -> Geometries:
    """The polygons, ``turns`` turns back and within -180..180."""
    if not len(polygons):
        return polygons
    paths = paths_of(polygons)
    sizes = np.diff(paths.starts)
    xy = paths.coordinates[:, :2].copy()
    xy[:, 0] -= TURN * np.repeat(turns[paths.owners()], sizes)
    paths = _clipped(paths.moved(xy))
    # A ring's last measure is lost when GEOS cuts it.
    paths.coordinates[paths.starts[1:] - 1] = paths.coordinates[paths.starts[:-1]]
    return paths.build()


def _joined(parts: Geometries, of: Integers, number: int, *, single: bool, build: Callable[..., Any]) -> Geometries:
    """The ``number`` geometries that these are parts of, None if there are none; ``single`` where one part is all."""
    made = np.full(number, None, dtype=object)
    order = np.argsort(of, kind="stable")
    parts, of = parts[order], of[order]
    counts = np.bincount(of, minlength=number)
    alone = single & (counts == 1)
    made[of[alone[of]]] = parts[alone[of]]
    several = (counts > 0) & ~alone
    if several.any():
        ranks = np.cumsum(several) - 1
        made[several] = build(parts[several[of]], indices=ranks[of[several[of]]])
    return made
