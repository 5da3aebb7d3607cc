"""Geometries as flat arrays of coordinates, one kind at a time, and put together again.

Here: what shapely's ragged arrays do, and measures, which shapely reads but does not build. Not here: what is done to
the coordinates (`reprojection`, `antimeridian`).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
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
