"""Geometries in another CRS, with the shape that they have in their own.

Here: points added where a straight edge becomes a curve, longitudes that run on past 180 degrees instead of jumping,
and polygons around or up to a pole. Not here: cutting at the antimeridian (`antimeridian`), except for polygons around
a pole, which are nothing without it.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.vectors.antimeridian import cut_at_antimeridian, union_of_polygons
from geo_assets.vectors.paths import (
    COLLECTION,
    LINE,
    LONG,
    MULTIPOINT,
    NEAR,
    POINT,
    POLYGON,
    TURN,
    BrokenEdge,
    Floats,
    Geometries,
    Integers,
    Mask,
    Paths,
    Pieces,
    Precision,
    change_paths,
    divide_edges,
    paths_of,
)

DEGREES_OFF = 1e-7
"""How far an edge in degrees may be from the curve that it replaces: a centimetre."""
METRES_OFF = 0.01
SHARE_OFF = 2e-8
"""Likewise as a share of the edge: of 1,000 km, 2 cm."""
SEAM_SLACK = 1e-7
"""How far beyond 180 degrees PROJ's rounding and that of files' own coordinates put what is meant to end there."""

EDGE_METRES = 10_000.0
"""Edges up to here stay as they are, unless near 180 degrees: the curve is off by some two metres at most."""
NEAR_180 = 175.0
"""From this longitude on, edges of any length follow their curves."""
NOWHERE = shapely.Point(np.inf, np.inf)
PORTION_COORDINATES = 100_000
_RADIUS = 6_371_000.0


class UnplaceableShape(Exception):
    """The geometry at ``index`` has no exact place in the target CRS; the message says why, in words for users."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index


class _OutsideCrs(Exception):
    """A part of a geometry has no place in the target CRS."""


@dataclass(frozen=True, slots=True)
class _Pole:
    """A pole as a point of the source CRS."""

    xy: tuple[float, float]
    latitude: float


class Reprojection:
    """From one CRS to another; longitudes are continuous, and start within -180..180, if the target is in degrees."""

    def __init__(self, source: pyproj.CRS, target: pyproj.CRS) -> None:
        self._transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
        self._in_degrees, self._from_degrees = is_in_degrees(target), is_in_degrees(source)
        self._precision = Precision(
            off=DEGREES_OFF if self._in_degrees else METRES_OFF * _metre(target),
            share_off=SHARE_OFF,
            metre=_metre(source),
            target_metre=_metre(target),
            in_degrees=self._in_degrees,
        )
        self._poles = _poles(source, target) if self._in_degrees and source.is_projected else ()

    def __call__(self, geometries: Geometries) -> tuple[Geometries, Integers]:
        """The geometries in the target CRS, and the indices of those that `over_pole` is for: they are as they were.

        What has no place there at all has coordinates that are not finite. Raises UnplaceableShape.
        """
        over_pole: set[int] = set()

        def change(owners: Integers, paths: Paths) -> Geometries:
            if paths.kind in (POINT, MULTIPOINT):
                return paths.moved(self._transform(paths.coordinates)).build()
            try:
                made, odd = self._line_up(paths)
            except UnplaceableShape as error:
                raise UnplaceableShape(int(owners[error.index]), str(error)) from None
            over_pole.update(owners[odd].tolist())
            return made

        made = geometries.copy()
        for portion in _portions(geometries):
            made[portion] = change_paths(geometries[portion], change, owners=portion)
        indices = np.array(sorted(over_pole), dtype=np.int64)
        made[indices] = geometries[indices]
        return made, indices

    def over_pole(self, geometry: BaseGeometry) -> BaseGeometry:
        """A valid geometry that reaches a pole, in degrees: lines are cut there, polygons between -180 and 180.

        Raises UnplaceableShape, of index 0.
        """
        try:
            return self._over_pole(geometry)
        except _OutsideCrs:
            return NOWHERE

    def _over_pole(self, geometry: BaseGeometry) -> BaseGeometry:
        kind = shapely.get_type_id(geometry)
        parts = shapely.get_parts(geometry)
        made: BaseGeometry
        if kind == COLLECTION:
            made = shapely.geometrycollections([self._over_pole(part) for part in parts])
        elif kind in (POINT, MULTIPOINT):
            made = self(np.array([geometry], dtype=object))[0][0]
        elif shapely.get_dimensions(geometry) == 1:
            pieces = [piece for part in parts for piece in self._pieces_of_line(paths_of(np.array([part])))]
            made = shapely.multilinestrings(pieces)
        else:
            made = union_of_polygons(np.array([self._polygon_over_pole(part) for part in parts], dtype=object))
        return made

    def _transform(self, coordinates: Floats) -> Floats:
        placed = np.column_stack(self._transformer.transform(coordinates[:, 0], coordinates[:, 1]))
        placed[np.isnan(placed)] = np.inf  # PROJ says either of what has no place; a ring of NaN is not closed
        return placed

    def _line_up(self, paths: Paths) -> tuple[Geometries, Integers]:
        """Lines or polygons in the target CRS; and the indices of those that reach a pole, of which nothing is made."""
        owners = paths.owners()
        odd = np.unique(owners[self._paths_at_pole(paths)])
        if odd.size:
            ordinary = np.setdiff1d(np.arange(len(paths.offsets[-1]) - 1), odd)
            made = np.full(len(paths.offsets[-1]) - 1, None, dtype=object)
            if ordinary.size:
                rest = paths_of(paths.build()[ordinary])
                try:
                    made[ordinary], more = self._line_up(rest)
                except UnplaceableShape as error:
                    raise UnplaceableShape(int(ordinary[error.index]), str(error)) from None
                odd = np.union1d(odd, ordinary[more])
            return made, odd
        lined_up = self._densified(paths)
        if not (self._in_degrees and paths.is_polygonal):
            return lined_up.build(), odd
        begin, end = lined_up.starts[:-1], lined_up.starts[1:] - 1
        with np.errstate(invalid="ignore"):
            winding = lined_up.coordinates[end, 0] - lined_up.coordinates[begin, 0]
        round_pole = np.abs(winding) > TURN / 2.0
        lined_up.coordinates[end[round_pole]] = lined_up.coordinates[begin[round_pole]]  # closed, to be built at all
        odd = np.unique(owners[round_pole])
        return _with_holes_in_place(lined_up, odd).build(), odd

    def _paths_at_pole(self, paths: Paths) -> Mask:
        """Which paths go through a pole."""
        found = np.zeros(len(paths.starts) - 1, dtype=bool)
        for pole in self._poles:
            edges, _, vertices = self._met(paths, pole)
            met = np.concatenate([edges, vertices])
            found[np.searchsorted(paths.starts, met, side="right") - 1] = True
        return found

    def _met(self, paths: Paths, pole: _Pole) -> tuple[Integers, Floats, Integers]:
        """The edges that a pole is on, but not at their ends, at which share of them; and the coordinates it is at."""
        x, y = (paths.coordinates[:, axis] - pole.xy[axis] for axis in (0, 1))
        near = NEAR * self._precision.metre
        at = (np.abs(x) < near) & (np.abs(y) < near)
        around = paths.edges() & ~at[:-1] & ~at[1:]
        for each in (x, y):
            around &= (np.minimum(each[:-1], each[1:]) < near) & (np.maximum(each[:-1], each[1:]) > -near)
        edges = np.flatnonzero(around)
        along = np.column_stack([x[edges + 1] - x[edges], y[edges + 1] - y[edges]])
        squared = along[:, 0] ** 2 + along[:, 1] ** 2
        shares = -(x[edges] * along[:, 0] + y[edges] * along[:, 1]) / np.maximum(squared, near**2)
        off = np.hypot(x[edges] + shares * along[:, 0], y[edges] + shares * along[:, 1])
        on = (off < near) & (shares > 0.0) & (shares < 1.0)
        return edges[on], shares[on], np.flatnonzero(at)

    def _densified(self, paths: Paths, *, poles: tuple[float, float] | None = None) -> Paths:
        """The paths in the target CRS, with points added. ``poles`` are the latitudes at both ends of one path."""
        placed = self._transform(paths.coordinates)
        if poles is not None:
            self._place_ends(placed, paths, poles)
        steps = self._steps(placed)
        chosen = self._may_bend(paths, placed, steps) | self._is_long(paths)
        edges = np.flatnonzero(chosen & paths.edges() & np.isfinite(steps[:, 0]) & np.isfinite(steps[:, 1]))
        if edges.size:
            pieces = self._divide(paths, edges, placed)
            inner = pieces.share > 0.0
            at = edges[pieces.edge]
            paths = paths.with_points(at[inner], pieces.share[inner])
            placed = np.insert(placed, at[inner] + 1, pieces.begin[inner], axis=0)
            steps = self._steps(placed)
            steps[at + np.cumsum(inner), 0] = pieces.step
        return paths.moved(self._unwrapped(placed, steps, paths))

    def _divide(self, paths: Paths, edges: Integers, placed: Floats) -> Pieces:
        begin, end = paths.coordinates[edges, :2], paths.coordinates[edges + 1, :2]
        try:
            return divide_edges(begin, end, (placed[edges], placed[edges + 1]), to=self._transform, how=self._precision)
        except BrokenEdge as error:
            path = np.searchsorted(paths.starts, edges[error.index], side="right") - 1
            raise UnplaceableShape(int(paths.owners()[path]), str(error)) from None

    def _steps(self, placed: Floats) -> Floats:
        """From each point to the next; longitudes the shorter way round."""
        with np.errstate(invalid="ignore"):
            steps: Floats = np.diff(placed, axis=0)
            if self._in_degrees:
                jumps = np.flatnonzero(np.abs(steps[:, 0]) > TURN / 2.0)
                steps[jumps, 0] -= TURN * np.round(steps[jumps, 0] / TURN)
        return steps

    def _is_long(self, paths: Paths) -> Mask:
        """Which edges are so long that a longitude may go round more than half the Earth on the way."""
        with np.errstate(over="ignore"):
            along = np.abs(np.diff(paths.coordinates[:, :2], axis=0))
        most = LONG * self._precision.metre
        return (along[:, 0] > most) | (along[:, 1] > most)

    def _may_bend(self, paths: Paths, placed: Floats, steps: Floats) -> Mask:
        """Which edges may stand for curves that they are too far from: long ones, and near 180 degrees short ones too.

        Whether it is one depends on the edge alone, so that neighbours still share it.
        """
        squared = steps[:, 0] ** 2 + steps[:, 1] ** 2
        chosen: Mask = (squared > (EDGE_METRES * self._precision.target_metre) ** 2) & paths.edges()
        if self._in_degrees:
            near = np.abs(placed[:, 0]) > NEAR_180
            chosen |= near[:-1] | near[1:]
        if not chosen.any():
            return chosen
        latitude = placed[:, 1] if self._in_degrees else paths.coordinates[:, 1] if self._from_degrees else None
        steepness: Floats = np.full(len(steps), 12.0)
        if latitude is not None:
            of_points = 1.0 + np.tan(np.radians(np.minimum(np.abs(latitude), 89.99)))
            steepness = np.maximum(of_points[:-1], of_points[1:])
        # The bend of a circle, twice over, as great circles and straight edges of most projections have it.
        bend = squared * steepness / (4.0 * _RADIUS * self._precision.target_metre)
        chosen &= bend > self._precision.off
        return chosen

    def _unwrapped(self, placed: Floats, steps: Floats, paths: Paths) -> Floats:
        """The points, with whole turns added to their longitudes where these go on past 180 degrees."""
        if not self._in_degrees or not len(steps):
            return placed
        with np.errstate(invalid="ignore"):
            gone_round = steps[:, 0] - np.diff(placed[:, 0])
        if not gone_round.any():
            return placed
        turns = np.where(paths.edges() & np.isfinite(gone_round), np.round(gone_round / TURN), 0.0)
        total = np.concatenate([[0.0], np.cumsum(turns)])
        total -= np.repeat(total[paths.starts[:-1]], np.diff(paths.starts))
        return np.column_stack([placed[:, 0] + TURN * total, placed[:, 1]])

    def _place_ends(self, placed: Floats, paths: Paths, poles: tuple[float, float]) -> None:
        """Put the ends of a path that are at poles there, on the meridian which it arrives on."""
        for end, beside, latitude in ((0, 1, poles[0]), (-1, -2, poles[1])):
            if latitude:
                inward = paths.coordinates[end] + 1e-6 * (paths.coordinates[beside] - paths.coordinates[end])
                placed[end] = self._transform(inward[None])[0, 0], latitude

    def _broken_at_poles(self, paths: Paths) -> list[tuple[Paths, tuple[float, float]]]:
        """One path in pieces, between the poles that it goes through; and the latitude of those at the ends of each."""
        latitudes = np.zeros(len(paths.coordinates))
        for pole in self._poles:
            edges, shares, _ = self._met(paths, pole)
            paths = paths.with_points(edges, shares, np.tile(pole.xy, (len(edges), 1)))
            latitudes = np.insert(latitudes, edges + 1, 0.0)
            latitudes[self._met(paths, pole)[2]] = pole.latitude
        breaks = np.flatnonzero(latitudes)
        bounds = np.unique(np.concatenate([[0], breaks, [len(latitudes) - 1]]))
        pieces = []
        for begin, end in pairwise(bounds.tolist()):
            rows = paths.coordinates[begin : end + 1]
            if end - begin > 1 or not (latitudes[begin] and latitudes[end]):
                piece = replace(paths, kind=LINE, coordinates=rows, offsets=(np.array([0, len(rows)]),))
                pieces.append((piece, (float(latitudes[begin]), float(latitudes[end]))))
        return pieces

    def _pieces_of_line(self, line: Paths) -> list[BaseGeometry]:
        return [self._piece(piece, poles).build()[0] for piece, poles in self._broken_at_poles(line)]

    def _piece(self, path: Paths, poles: tuple[float, float]) -> Paths:
        placed = self._densified(path, poles=poles)
        if not np.isfinite(placed.coordinates[:, :2]).all():
            raise _OutsideCrs
        return placed

    def _polygon_over_pole(self, polygon: BaseGeometry) -> BaseGeometry:
        paths = paths_of(np.array([polygon], dtype=object))
        rings = [paths.coordinates[begin:end] for begin, end in pairwise(paths.starts.tolist())]
        shapes = np.array([self._ring_over_pole(replace(paths, coordinates=ring)) for ring in rings], dtype=object)
        shell, *holes = cut_at_antimeridian(shapes, slack=SEAM_SLACK)
        made: BaseGeometry = shapely.difference(shell, shapely.union_all(holes)) if holes else shell
        return made

    def _ring_over_pole(self, ring: Paths) -> BaseGeometry:
        """The polygon in a ring, which may go round a pole or through it."""
        ring = replace(ring, kind=POLYGON, offsets=(np.array([0, len(ring.coordinates)]), np.array([0, 1])))
        pieces = self._broken_at_poles(ring)
        if len(pieces) == 2 and not pieces[0][1][0]:  # it begins between two visits, or before and after one
            (first, (_, latitude)), (second, _) = pieces
            rows = np.concatenate([second.coordinates, first.coordinates[1:]])
            pieces = [(replace(first, coordinates=rows, offsets=(np.array([0, len(rows)]),)), (latitude, latitude))]
        if len(pieces) != 1:
            raise UnplaceableShape(0, "its outline goes through a pole more than once")
        piece, poles = pieces[0]
        lined_up = self._piece(piece, poles).coordinates
        if poles[0]:
            lined_up = np.concatenate([lined_up, lined_up[:1]])
        elif abs(lined_up[-1, 0] - lined_up[0, 0]) > TURN / 2.0:
            lined_up = _closed_over(self._pole_within(ring), lined_up)
        offsets = (np.array([0, len(lined_up)]), np.array([0, 1]))
        made: BaseGeometry = replace(ring, coordinates=lined_up, offsets=offsets).build()[0]
        return made

    def _pole_within(self, ring: Paths) -> float:
        inside = shapely.polygons(ring.coordinates[:, :2])
        within = [pole.latitude for pole in self._poles if shapely.contains_xy(inside, *pole.xy)]
        if len(within) != 1:
            raise UnplaceableShape(0, "it goes once round the Earth, and encloses both poles or none")
        return within[0]


def is_in_degrees(crs: pyproj.CRS) -> bool:
    """Whether coordinates are degrees from Greenwich: a few geographic CRSs have grads, or another meridian."""
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 0.0
    meridian = crs.prime_meridian.longitude if crs.prime_meridian else 0.0
    return bool(crs.is_geographic) and abs(unit - np.radians(1.0)) < 1e-12 and meridian == 0.0


def _metre(crs: pyproj.CRS) -> float:
    """A metre in the units of a CRS: on a meridian, if they are of angles."""
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    return 1.0 / (unit * _RADIUS if crs.is_geographic else unit)


def _poles(source: pyproj.CRS, target: pyproj.CRS) -> tuple[_Pole, ...]:
    """The poles that are points of a projected CRS: in others they are lines, or nowhere."""
    back = pyproj.Transformer.from_crs(target, source, always_xy=True)
    near = NEAR * _metre(source)
    found = []
    for latitude in (90.0, -90.0):
        x, y = back.transform([0.0, 90.0, 180.0, -90.0], [latitude] * 4)
        if np.isfinite([x, y]).all() and np.ptp(x) < near and np.ptp(y) < near:
            found.append(_Pole((float(x[0]), float(y[0])), latitude))
    return tuple(found)


def _portions(geometries: Geometries) -> list[Integers]:
    """Indices of geometries that are worked on together: points that are added to them take room."""
    portion = np.cumsum(shapely.get_num_coordinates(geometries)) // PORTION_COORDINATES
    return np.split(np.arange(len(geometries)), np.flatnonzero(np.diff(portion)) + 1)


def _closed_over(pole: float, ring: Floats) -> Floats:
    """A ring round the Earth, closed over a pole on the meridian of its point nearest to that: others may cross it."""
    turn = ring[-1, 0] - ring[0, 0]
    nearest = int(np.argmin(np.abs(pole - ring[:-1, 1])))
    later = ring[: nearest + 1].copy()
    later[:, 0] += turn
    path = np.concatenate([ring[nearest:-1], later])
    over = path[[-1, 0]].copy()
    over[:, 1] = pole
    return np.concatenate([path, over, path[:1]])


def _with_holes_in_place(polygons: Paths, odd: Integers) -> Paths:
    """Polygons whose holes are in the same turn as the ring around them: each ring began in a turn of its own.

    Raises UnplaceableShape where a hole may be in several.
    """
    of_polygon = polygons.offsets[1]
    shells = np.repeat(of_polygon[:-1], np.diff(of_polygon))
    rings = polygons.starts[:-1]
    west, east = (each.reduceat(polygons.coordinates[:, 0], rings) for each in (np.minimum, np.maximum))
    is_hole = shells != np.arange(len(shells))
    owners = polygons.owners()
    with np.errstate(invalid="ignore"):
        wide = is_hole & ((east - west)[shells] > TURN + SEAM_SLACK) & ~np.isin(owners, odd)
        middle = (west + east) / 2.0
        turns = np.nan_to_num(np.round((middle[shells] - middle) / TURN), posinf=0.0, neginf=0.0)
    if wide.any():
        raise UnplaceableShape(int(owners[np.argmax(wide)]), "it goes round the Earth more than once, and has holes")
    if not turns.any():
        return polygons
    xy = polygons.coordinates[:, :2].copy()
    xy[:, 0] += TURN * np.repeat(turns, np.diff(polygons.starts))
    return polygons.moved(xy)
