"""Straight edges that become curves in another CRS, divided until each piece is as good as straight there.

Here: edges alone, many at a time. Not here: which edges need it, and the shapes they belong to (`reprojection`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from geo_assets.vectors.paths import Floats, Integers, Mask

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
