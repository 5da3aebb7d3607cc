"""Geometries made fit for a table, a batch at a time: read, flattened, reprojected, cut, repaired, promoted.

Here: shapely and PROJ on arrays of geometries, and what was done to how many. Not here: rows and columns, and the
linearising of curves, which the caller brings.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import antimeridian
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.errors import NullGeometry

Geometries = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Linearise = Callable[[Sequence[bytes]], Sequence[bytes | None]]

_FAMILY = ("Point", "LineString", "LineString", "Polygon", "Point", "LineString", "Polygon", "GeometryCollection")
"""By shapely's type id: Point, LineString, LinearRing, Polygon, the three Multis, GeometryCollection."""
_NAMES = (
    "Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    "GeometryCollection",
)  # fmt: skip


_MULTI_OF = np.array([4, 5, 5, 6, 4, 5, 6, 7, -1])
"""The Multi of each of shapely's type ids; -1, for None, is the last."""


class OtherGeometryType(Exception):
    """A geometry that the column of its table does not take; the table then takes all."""


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """What the geometries of a table have in common: ``kind`` is of PostGIS, "Geometry" where it may be any."""

    kind: str
    has_z: bool
    has_m: bool
    srid: int

    @property
    def sql_type(self) -> str:
        """The type of the column, such as geometry(MultiPolygonZ,4326)."""
        return f"geometry({self.kind}{'Z' * self.has_z}{'M' * self.has_m},{self.srid})"

    def promotes(self, types: npt.NDArray[Any]) -> Mask:
        """Which of these types of shapely become Multi: lines and polygons; points in a column of MultiPoint."""
        points = (types == 0) & (self.kind == "MultiPoint")
        promoted: Mask = (types == 1) | (types == 2) | (types == 3) | points
        return promoted


@dataclass
class GeometryTally:
    """What was done to the geometries of one layer, in rows; ``bounds`` are in the target CRS."""

    repaired: int = 0
    split: int = 0
    linearised: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    bounds: tuple[float, float, float, float] | None = None


def column_of(kind: str | None, first: Geometries, rule: TableRule) -> GeometryColumn:
    """The column for a layer of GDAL's geometry type ``kind``, whose first batch is ``first``.

    Lines and polygons are promoted to Multi. Z and M are those of the first batch, where the rule keeps them.
    """
    base = (kind or "Unknown").removeprefix("2.5D ").removeprefix("Measured ").removeprefix("3D ").split(" ")[0]
    known = {
        "Point": "Point", "MultiPoint": "MultiPoint", "LineString": "MultiLineString",
        "MultiLineString": "MultiLineString", "Polygon": "MultiPolygon", "MultiPolygon": "MultiPolygon",
        "CompoundCurve": "MultiLineString", "CircularString": "MultiLineString", "MultiCurve": "MultiLineString",
        "CurvePolygon": "MultiPolygon", "MultiSurface": "MultiPolygon",
    }  # fmt: skip
    keeps = rule.dimensions == "keep"
    return GeometryColumn(
        kind=known.get(base, "Geometry"),
        has_z=keeps and bool(np.any(shapely.has_z(first))),
        has_m=keeps and bool(np.any(shapely.has_m(first))),
        srid=rule.srid,
    )


def read_geometries(wkb: Sequence[bytes | None], linearise: Linearise, tally: GeometryTally) -> tuple[Geometries, Mask]:
    """The geometries of ``wkb``, curves linearised, None where none can be read; and which are as they were there.

    Those are not that were curves, or whose rings were closed.
    """
    raw = np.empty(len(wkb), dtype=object)
    raw[:] = wkb
    strictly = True
    try:
        geometries: Geometries = shapely.from_wkb(raw, on_invalid="ignore")
    except NotImplementedError:  # a curve among them
        strictly = False
        geometries = np.array([_read_leniently(each) for each in wkb], dtype=object)
    as_there = ~shapely.is_missing(geometries) & strictly
    unread = np.flatnonzero(shapely.is_missing(geometries) & _present(raw))
    if unread.size:
        straight = linearise([raw[index] for index in unread])
        tally.linearised += sum(each is not None for each in straight)
        again = [raw[index] if each is None else each for index, each in zip(unread, straight, strict=True)]
        with_rings_closed = np.empty(len(again), dtype=object)
        with_rings_closed[:] = again
        for index, each in zip(unread, with_rings_closed, strict=True):
            geometries[index] = _read_leniently(each)
    return geometries, as_there


class Normaliser:
    """Makes the geometries of one layer fit for its ``column``, and keeps the ``tally``."""

    def __init__(
        self,
        rule: TableRule,
        column: GeometryColumn,
        crs: pyproj.CRS,
        *,
        tally: GeometryTally,
        transform_measured: Callable[[Sequence[bytes]], Sequence[bytes | None]] | None = None,
    ) -> None:
        self._rule, self._column, self._tally = rule, column, tally
        target = pyproj.CRS.from_epsg(column.srid)
        self._reprojects = not crs.equals(target, ignore_axis_order=True)
        self._transformer = pyproj.Transformer.from_crs(crs, target, always_xy=True) if self._reprojects else None
        self._in_degrees = target.is_geographic
        self._transform_measured = transform_measured

    def normalise(self, wkb: Sequence[bytes | None], geometries: Geometries) -> tuple[Geometries, Mask, Mask]:
        """The geometries as they go into the table but for `promote`, which rows stay, and which were repaired.

        Raises NullGeometry where the rule refuses rows without one, OtherGeometryType where the column does not
        take one.
        """
        present = _present(wkb)
        kept = self._apply_policy(~present, self._rule.null_geometry, "without geometry")
        kept &= ~self._reject(present & shapely.is_missing(geometries), "geometry cannot be read")
        kept &= self._apply_policy(shapely.is_empty(geometries), self._rule.empty_geometry, "with empty geometry")
        kept &= ~self._reject(kept & ~_is_finite(geometries), "coordinates are not finite")
        work = _only(kept, geometries)
        work = self._flatten(work)
        if self._transformer is not None:
            work = self._reproject(work)
            kept &= ~self._reject(kept & ~_is_finite(work), "outside of the target CRS")
        if self._in_degrees:
            kept &= ~self._reject(kept & _is_off_globe(work), "latitude beyond a pole, or longitude beyond two turns")
        work = _only(kept, work)
        work, repaired = self._repair(work)
        if self._in_degrees and self._rule.antimeridian == "split":
            work = self._split(work)
        kept &= ~self._reject(kept & present & shapely.is_missing(work), "nothing is left of the shape when repaired")
        work = _only(kept, work)
        self._check_types(work)
        self._count(work)
        return work, kept, repaired & kept

    def _apply_policy(self, mask: Mask, policy: str, what: str) -> Mask:
        number = int(np.count_nonzero(mask))
        if number and policy == "refuse":
            raise NullGeometry(f"The layer has rows {what}, at least {number:,}.")
        if number and policy == "drop":
            self._tally.dropped[what] += number
            return ~mask
        return np.ones(len(mask), dtype=bool)

    def _reject(self, mask: Mask, reason: str) -> Mask:
        if number := int(np.count_nonzero(mask)):
            self._tally.rejected[reason] += number
        return mask

    def _flatten(self, geometries: Geometries) -> Geometries:
        if not (self._column.has_z or self._column.has_m):
            return (
                shapely.force_2d(geometries)
                if np.any(shapely.has_z(geometries) | shapely.has_m(geometries))
                else geometries
            )
        if self._column.has_z and np.any(flat := ~shapely.has_z(geometries) & ~shapely.is_missing(geometries)):
            geometries = np.where(flat, shapely.force_3d(geometries), geometries)
        present = ~shapely.is_missing(geometries) & ~shapely.is_empty(geometries)
        if np.any(present & (shapely.has_m(geometries) != self._column.has_m)):
            raise OtherGeometryType("some geometries have measures, others none")
        if not self._column.has_z and np.any(shapely.has_z(geometries)):
            raise OtherGeometryType("some geometries have heights, others none")
        return geometries

    def _reproject(self, geometries: Geometries) -> Geometries:
        assert self._transformer is not None
        if self._column.has_m and self._transform_measured is not None:
            measured: Geometries = np.array(self._transform_measured(list(shapely.to_wkb(geometries))), dtype=object)
            return np.asarray(shapely.from_wkb(measured))
        xyz = shapely.get_coordinates(geometries, include_z=self._column.has_z)
        x, y = self._transformer.transform(xyz[:, 0], xyz[:, 1])
        return np.asarray(shapely.set_coordinates(geometries.copy(), np.column_stack([x, y, *xyz.T[2:]])))

    def _repair(self, geometries: Geometries) -> tuple[Geometries, Mask]:
        invalid = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
        for index in np.flatnonzero(invalid):
            geometries[index] = _same_kind(shapely.make_valid(geometries[index]), geometries[index])
        self._tally.repaired += int(np.count_nonzero(invalid & ~shapely.is_missing(geometries)))
        return geometries, invalid

    def _split(self, geometries: Geometries) -> Geometries:
        """Cut what crosses the antimeridian: what reaches beyond it, or jumps over it after it was reprojected."""
        west, _, east, _ = shapely.bounds(geometries).T
        crosses = (west < -180.0 - 1e-9) | (east > 180.0 + 1e-9)
        if self._reprojects:
            crosses |= east - west > 180.0
        for index in np.flatnonzero(crosses):
            geometries[index] = _cut(geometries[index])
        self._tally.split += int(np.count_nonzero(crosses))
        return geometries

    def _check_types(self, geometries: Geometries) -> None:
        types = shapely.get_type_id(geometries)
        if self._column.kind != "Geometry" and np.any((types >= 0) & ~np.isin(types, _types_taken(self._column.kind))):
            found = sorted({_NAMES[each] for each in np.unique(types[types >= 0])})
            raise OtherGeometryType(f"{', '.join(found)} in a layer of {self._column.kind}")

    def _count(self, geometries: Geometries) -> None:
        types = shapely.get_type_id(geometries)
        types = np.where(self._column.promotes(types), _MULTI_OF[types], types)
        ids, numbers = np.unique(types, return_counts=True)
        self._tally.types.update({_NAMES[each]: int(n) for each, n in zip(ids, numbers, strict=True) if each >= 0})
        bounds = shapely.total_bounds(geometries)
        if not np.isnan(bounds).any():
            known = self._tally.bounds
            both = np.vstack([bounds, known]) if known else bounds[None]
            low, high = both[:, :2].min(axis=0), both[:, 2:].max(axis=0)
            self._tally.bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _types_taken(kind: str) -> list[int]:
    single = kind.removeprefix("Multi")
    return [index for index, name in enumerate(_NAMES) if name in (kind, single)]


def _read_leniently(wkb: bytes | None) -> BaseGeometry | None:
    try:
        return shapely.from_wkb(wkb, on_invalid="fix")
    except (shapely.GEOSException, ValueError, TypeError, NotImplementedError):
        return None


def _present(values: Sequence[object] | Geometries) -> Mask:
    return np.fromiter((each is not None for each in values), dtype=bool, count=len(values))


def _only(mask: Mask, geometries: Geometries) -> Geometries:
    """A copy with None in place of what ``mask`` leaves out."""
    chosen = geometries.copy()
    chosen[~mask] = None
    return chosen


def _is_finite(geometries: Geometries) -> Mask:
    """Whether all of a geometry's coordinates are numbers; so it is where there are none."""
    coordinates, owners = shapely.get_coordinates(geometries, return_index=True)
    finite = np.ones(len(geometries), dtype=bool)
    finite[owners[~np.isfinite(coordinates).all(axis=1)]] = False
    return finite


def _is_off_globe(geometries: Geometries) -> Mask:
    west, south, east, north = shapely.bounds(geometries).T
    off: Mask = (south < -90.0 - 1e-9) | (north > 90.0 + 1e-9) | (west < -720.0) | (east > 720.0)
    return off


def _same_kind(made: BaseGeometry, before: BaseGeometry) -> BaseGeometry | None:
    """Of what a repair gave, the parts of the kind it had before; None where there are none."""
    kind = _FAMILY[shapely.get_type_id(before)]
    if kind == "GeometryCollection" or _FAMILY[shapely.get_type_id(made)] == kind:
        return made if not made.is_empty else None
    parts = shapely.get_parts(shapely.get_parts(made))
    wanted = [part for part in parts if _FAMILY[shapely.get_type_id(part)] == kind]
    if not wanted:
        return None
    if kind == "Polygon":
        joined: BaseGeometry = shapely.union_all(wanted)
    else:
        joined = shapely.multipoints(wanted) if kind == "Point" else shapely.multilinestrings(wanted)
    return None if joined.is_empty else joined


def _cut(geometry: BaseGeometry) -> BaseGeometry:
    """The geometry between -180 and 180; one that runs once round the globe over a pole is closed there."""
    if geometry.geom_type not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        geometry = shapely.transform(geometry, _wrapped)
    if geometry.geom_type == "Point" or geometry.geom_type == "MultiPoint":
        return geometry
    if geometry.geom_type == "GeometryCollection":
        return shapely.geometrycollections([_cut(part) for part in shapely.get_parts(geometry)])
    fixes: dict[str, Any] = {
        "Polygon": antimeridian.fix_polygon,
        "MultiPolygon": antimeridian.fix_multi_polygon,
        "LineString": partial(antimeridian.fix_line_string, great_circle=False),
        "MultiLineString": partial(antimeridian.fix_multi_line_string, great_circle=False),
    }
    made: BaseGeometry = fixes[geometry.geom_type](geometry)
    return made


def _wrapped(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack([(xy[:, 0] + 180.0) % 360.0 - 180.0, xy[:, 1]])
