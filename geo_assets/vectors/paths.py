"""Geometries as flat arrays of coordinates, one kind at a time, put together again, and their edges divided.

Here: what shapely's ragged arrays do, and measures, which shapely reads but does not build; straight edges that become
curves in another CRS, divided until each piece is as good as straight there, many at a time. Not here: which edges need
it, and what else is done to the coordinates (`reprojection`, `antimeridian`).
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

Geometries = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

POINT, LINE, POLYGON, MULTIPOINT, MULTILINE, MULTIPOLYGON, COLLECTION = 0, 1, 3, 4, 5, 6, 7
"""The type ids of shapely."""
_SINGLE = {MULTIPOINT: POINT, MULTILINE: LINE, MULTIPOLYGON: POLYGON}
_WKB_CODES = {POINT: 1, LINE: 2, POLYGON: 3, MULTIPOINT: 4, MULTILINE: 5, MULTIPOLYGON: 6}


@dataclass(frozen=True, slots=True)
class Paths:
    """Geometries of one ``kind``: ``coordinates`` are rows of x, y, then z and m if they have them.

    ``offsets`` are those of shapely's ragged arrays: the first says where each line or ring begins, the next where each
    part begins among these, and so on. Points have none.
    """

    kind: int
    coordinates: Floats
    offsets: tuple[Integers, ...]
    has_z: bool = False
    has_m: bool = False

    @property
    def is_polygonal(self) -> bool:
        """Whether the paths are rings."""
        return self.kind in (POLYGON, MULTIPOLYGON)

    @property
    def starts(self) -> Integers:
        """Where each line or ring begins, and where the last one ends."""
        return self.offsets[0]

    def moved(self, xy: Floats) -> "Paths":
        """The same paths with other x and y."""
        return replace(self, coordinates=np.column_stack([xy, self.coordinates[:, 2:]]))

    def with_points(self, edges: Integers, shares: Floats, xy: Floats | None = None) -> "Paths":
        """The same paths with points added at these ``shares`` of these ``edges``, in their order.

        An edge has the index of the coordinates that it begins at. ``xy`` of the points are given, or interpolated.
        """
        begin, end = self.coordinates[edges], self.coordinates[edges + 1]
        added = begin + shares[:, None] * (end - begin)
        if xy is not None:
            added[:, :2] = xy
        starts = self.starts + np.searchsorted(edges, self.starts, side="left")
        return replace(
            self,
            coordinates=np.insert(self.coordinates, edges + 1, added, axis=0),
            offsets=(starts, *self.offsets[1:]),
        )

    def owners(self) -> Integers:
        """Of each line or ring: the geometry that it is a part of."""
        of_path = np.arange(len(self.starts) - 1)
        for offsets in self.offsets[1:]:
            of_path = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[of_path]
        return of_path

    def edges(self) -> Mask:
        """Whether an edge begins at each of the coordinates but the last: none does where a path ends."""
        begins = np.ones(max(len(self.coordinates) - 1, 0), dtype=bool)
        begins[self.starts[1:-1] - 1] = False
        return begins

    def build(self) -> Geometries:
        """The geometries."""
        if self.has_m:
            return np.asarray(shapely.from_wkb(np.array(self._wkb(), dtype=object)))
        kind = shapely.GeometryType(self.kind)
        return np.asarray(shapely.from_ragged_array(kind, self.coordinates, self.offsets or None))

    def _wkb(self) -> list[bytes]:
        """ISO WKB of each geometry."""
        single = _SINGLE.get(self.kind, self.kind)
        if single == POINT:
            parts = [self._head(POINT) + row.astype("<f8").tobytes() for row in self.coordinates]
            return parts if self.kind == POINT else self._grouped(self.kind, parts, self.starts)
        rows = [self.coordinates[begin:end] for begin, end in _slices(self.starts)]
        paths = [struct.pack("<I", len(each)) + each.astype("<f8").tobytes() for each in rows]
        if single == LINE:
            parts, more = [self._head(LINE) + path for path in paths], self.offsets[1:]
        else:
            parts, more = self._grouped(POLYGON, paths, self.offsets[1]), self.offsets[2:]
        return self._grouped(self.kind, parts, more[0]) if more else parts

    def _grouped(self, kind: int, parts: list[bytes], offsets: Integers) -> list[bytes]:
        return [
            self._head(kind) + struct.pack("<I", end - begin) + b"".join(parts[begin:end])
            for begin, end in _slices(offsets)
        ]

    def _head(self, kind: int) -> bytes:
        return struct.pack("<BI", 1, _WKB_CODES[kind] + 1000 * self.has_z + 2000 * self.has_m)


def _slices(offsets: Integers) -> list[tuple[int, int]]:
    return list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))


def change_paths(
    geometries: Geometries, change: Callable[[Integers, Paths], Geometries], *, owners: Integers | None = None
) -> Geometries:
    """The geometries after ``change``, which is called for each kind among them with their ``owners`` and their paths.

    What is None or empty stays as it is; collections are changed part by part. Owners are indices by default.
    """
    changed = geometries.copy()
    owners = np.arange(len(geometries)) if owners is None else owners
    kinds = np.where(shapely.is_empty(geometries), -1, shapely.get_type_id(geometries))
    for kind in np.unique(kinds[kinds >= 0]).tolist():
        at = np.flatnonzero(kinds == kind)
        if kind == COLLECTION:
            parts, of = shapely.get_parts(geometries[at], return_index=True)
            made = change_paths(parts, change, owners=owners[at][of])
            changed[at] = shapely.geometrycollections(made, indices=of)
        else:
            changed[at] = change(owners[at], paths_of(geometries[at]))
    return changed


def paths_of(geometries: Geometries) -> Paths:
    """The paths of geometries of one kind, none of them None or a collection."""
    has_z, has_m = bool(shapely.has_z(geometries).any()), bool(shapely.has_m(geometries).any())
    kind, coordinates, offsets = shapely.to_ragged_array(geometries, include_z=has_z, include_m=has_m)
    widened = tuple(each.astype(np.int64) for each in offsets)
    return Paths(int(kind), np.asarray(coordinates, dtype=np.float64), widened, has_z, has_m)


TURN = 360.0
NEAR = 1e-3
"""Metres: shorter pieces are not divided."""
LONG = 1e6
"""Metres: no shorter edge changes its longitude by half a turn, unless near a pole."""

MOST_POINTS = 20_000
"""On one edge: half the Earth takes some 3,000, all of a circle of latitude on a polar map 11,000."""

_JUMP = 1.0
"""Metres: a piece of NEAR that becomes longer than this on the ground crosses a seam of the CRS."""
_NOISE = 1e-5
"""Metres that rounding may put a point off."""
_MOST_LOOKS = 200
_MOST_PIECES = 16
"""Of one division: another may follow where the edge is still bent."""
_DEGREE = 111_195.0
"""Metres."""

Transform = Callable[[Floats], Floats]


class BrokenEdge(Exception):
    """The edge of this ``index`` does not become a curve; the message says why not, in words for users."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index


@dataclass(frozen=True, slots=True)
class Precision:
    """What is as good as straight: ``off`` in the units of the target CRS, or as a share of the whole edge.

    ``metre`` is that of the source CRS in its units, and ``target_metre`` that of the target.
    """

    off: float
    share_off: float
    metre: float
    target_metre: float
    in_degrees: bool


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of edges, from ``share`` to ``end_share`` of each.

    ``begin`` and ``end`` are points of the target CRS. ``step`` is the change of x between them, which tells how often
    a longitude went round.
    """

    edge: Integers
    share: Floats
    end_share: Floats
    begin: Floats
    end: Floats
    step: Floats

    def chosen(self, which: Mask | Integers) -> "Pieces":
        """Some of the pieces, or all in another order."""
        return Pieces(*(getattr(self, each.name)[which] for each in fields(self)))

    @staticmethod
    def joined(pieces: "Sequence[Pieces]") -> "Pieces":
        """All of these pieces, along each edge."""
        together = Pieces(*(np.concatenate([getattr(each, f.name) for each in pieces]) for f in fields(Pieces)))
        return together.chosen(np.lexsort([together.share, together.edge]))


@dataclass(frozen=True, slots=True)
class _Look:
    """What pieces look like in the target CRS, seen at some points between their ends; lengths are in its units."""

    finite: Mask
    bend: Floats
    size: Floats
    longest: Floats
    step: Floats
    torn: Mask


def divide_edges(begin: Floats, end: Floats, placed: tuple[Floats, Floats], to: Transform, how: Precision) -> Pieces:
    """The pieces of edges, whose ends are ``begin`` and ``end`` in the source CRS, and ``placed`` in the target.

    A piece that leaves the target CRS on its way has a point that is not finite. Raises BrokenEdge.
    """
    length = np.hypot(*(end - begin).T) / how.metre
    number = len(begin)
    todo = Pieces(np.arange(number), np.zeros(number), np.ones(number), *placed, np.zeros(number))
    looks = np.clip(np.ceil(length / LONG), 3, _MOST_LOOKS).astype(np.int64)
    off: Floats | None = None
    done: list[Pieces] = []
    while number := len(todo.edge):
        _, shares = _shares(todo, looks, first=1)
        at = todo.edge[np.repeat(np.arange(number), looks - 1)]
        look = _look(todo, to(begin[at] + shares[:, None] * (end[at] - begin[at])), looks, how)
        if off is None:
            off = np.maximum(how.off, how.share_off * np.nan_to_num(look.size))
        todo = Pieces(todo.edge, todo.share, todo.end_share, todo.begin, todo.end, look.step)
        straight = look.finite & (look.bend <= off[todo.edge]) & (look.longest < TURN / 4.0)
        straight &= how.in_degrees | ~look.torn
        tiny = look.finite & ~straight & (length[todo.edge] * (todo.end_share - todo.share) < NEAR)
        for torn in np.flatnonzero(tiny & look.torn):
            ends = (", ".join(f"{each:.6g}" for each in point) for point in (todo.begin[torn], todo.end[torn]))
            raise BrokenEdge(int(todo.edge[torn]), f"an edge jumps from {' to '.join(ends)}, where a CRS ends")
        done += [todo.chosen(straight | tiny), *_lost(todo.chosen(~look.finite))]
        again = look.finite & ~straight & ~tiny
        with np.errstate(invalid="ignore"):
            wanted = np.clip(np.ceil(1.05 * np.sqrt(look.bend[again] / off[todo.edge[again]])), 2, _MOST_PIECES)
        wanted[look.longest[again] >= TURN / 4.0] = 4
        todo = _divided(todo.chosen(again), wanted.astype(np.int64), begin, end, to)
        looks = np.full(len(todo.edge), 3)
        if np.any(endless := np.bincount(todo.edge) > MOST_POINTS):
            raise BrokenEdge(int(np.argmax(endless)), f"an edge becomes a curve of more than {MOST_POINTS:,} points")
    return Pieces.joined(done)


def _shares(pieces: Pieces, number: Integers, *, first: int) -> tuple[Integers, Floats]:
    """Of each piece the shares where its ``first`` to last of ``number`` parts begin; and of which piece each is."""
    of = np.repeat(np.arange(len(number)), number - first)
    nth = np.arange(len(of)) - np.repeat(np.cumsum(number - first) - (number - first), number - first) + first
    return of, pieces.share[of] + (pieces.end_share - pieces.share)[of] * nth / number[of]


def _look(pieces: Pieces, seen: Floats, looks: Integers, how: Precision) -> _Look:
    """How bent each piece is, by the ``seen`` points at equal shares of it, one less than ``looks`` each."""
    last = np.cumsum(looks + 1) - 1
    first = last - looks
    points = np.empty((int(last[-1]) + 1, 2))
    ends = np.zeros(len(points), dtype=bool)
    ends[first] = ends[last] = True
    points[first], points[last], points[~ends] = pieces.begin, pieces.end, seen
    with np.errstate(invalid="ignore"):
        steps = np.diff(points, axis=0, prepend=points[:1])
        steps[first] = 0.0
        finite = np.logical_and.reduceat(np.isfinite(steps).all(axis=1), first)
        longest = np.zeros(len(looks))
        if how.in_degrees:
            steps[:, 0] -= TURN * np.round(steps[:, 0] / TURN)
            longest = np.maximum.reduceat(np.abs(steps[:, 0]), first)
        along = np.cumsum(np.nan_to_num(steps, posinf=0.0, neginf=0.0), axis=0)
        along -= np.repeat(along[first], looks + 1, axis=0)
        chord = along[last]
        length = np.hypot(*chord.T)
        of_each = np.repeat(np.where(length[:, None] > 0.0, chord / length[:, None], 0.0), looks + 1, axis=0)
        bend = np.abs(along[:, 0] * of_each[:, 1] - along[:, 1] * of_each[:, 0])
        bend = np.where(np.repeat(length == 0.0, looks + 1), np.hypot(*along.T), bend)
        if how.in_degrees:
            ground = np.hypot(chord[:, 0] * np.cos(np.radians(pieces.begin[:, 1])), chord[:, 1])
            torn = ground > _JUMP * how.target_metre
        else:
            torn = _doubles_back((steps * of_each).sum(axis=1), first, how)
        size = np.maximum.reduceat(np.hypot(*along.T), first)
    return _Look(finite, np.maximum.reduceat(bend, first), size, longest, chord[:, 0], torn)


def _doubles_back(forward: Floats, first: Integers, how: Precision) -> Mask:
    """Which pieces go back most of their way but for one long step, as over the edge of a map."""
    longest = np.maximum.reduceat(forward, first)
    back = -np.add.reduceat(np.minimum(forward, 0.0), first)
    on = np.add.reduceat(np.maximum(forward, 0.0), first) - longest
    torn: Mask = (longest > _JUMP * how.target_metre) & (back > on) & (back > _NOISE * how.target_metre)
    return torn


def _lost(pieces: Pieces) -> tuple[Pieces, Pieces]:
    """Pieces that leave the target CRS, with a point in their middle that is nowhere."""
    middle = (pieces.share + pieces.end_share) / 2.0
    nowhere = np.full_like(pieces.begin, np.inf)
    nothing = np.zeros(len(middle))
    return (
        Pieces(pieces.edge, pieces.share, middle, pieces.begin, nowhere, nothing),
        Pieces(pieces.edge, middle, pieces.end_share, nowhere, pieces.end, nothing),
    )


def _divided(pieces: Pieces, number: Integers, begin: Floats, end: Floats, to: Transform) -> Pieces:
    """Each piece in ``number`` equal ones."""
    of, share = _shares(pieces, number, first=0)
    last = np.cumsum(number) - 1
    first = last - number + 1
    edge = pieces.edge[of]
    inner = np.ones(len(of), dtype=bool)
    inner[first] = False
    begins = pieces.begin[of]
    begins[inner] = to(begin[edge[inner]] + share[inner, None] * (end - begin)[edge[inner]])
    ends, end_share = np.roll(begins, -1, axis=0), np.roll(share, -1)
    ends[last], end_share[last] = pieces.end, pieces.end_share
    return Pieces(edge, share, end_share, begins, ends, np.zeros(len(of)))
