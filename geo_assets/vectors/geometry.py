"""Geometries made fit for a table, a batch at a time: read, flattened, reprojected, cut, repaired, promoted.

Here: shapely and PROJ on arrays of geometries, and what was done to how many. Not here: rows and columns, and the
linearising of curves, which the caller brings.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.antimeridian import crosses_antimeridian, cut_at_antimeridian, is_beyond
from geo_assets.vectors.errors import NullGeometry
from geo_assets.vectors.paths import Geometries, Mask
from geo_assets.vectors.reprojection import NOWHERE, SEAM_SLACK, Reprojection, UnplaceableShape, is_in_degrees

Linearise = Callable[[Sequence[bytes]], Sequence[bytes | None]]

_FAMILY = ("Point", "LineString", "LineString", "Polygon", "Point", "LineString", "Polygon", "GeometryCollection")
"""By shapely's type id: Point, LineString, LinearRing, Polygon, the three Multis, GeometryCollection."""
_NAMES = (
    "Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    "GeometryCollection",
)  # fmt: skip


_MULTI_OF = np.array([4, 5, 5, 6, 4, 5, 6, 7, -1])
"""The Multi of each of shapely's type ids; -1, for None, is the last."""


_WGS84 = pyproj.CRS.from_epsg(4326)
ROUNDING = 1e-9
"""Degrees beyond 180 or a pole that mean 180 or the pole."""


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
    ) -> None:
        self._rule, self._column, self._tally = rule, column, tally
        self._cuts = rule.antimeridian == "split"
        self._crs, self._target = crs, pyproj.CRS.from_epsg(column.srid)
        reprojects = not crs.equals(self._target, ignore_axis_order=True)
        self._reprojection = Reprojection(crs, self._target) if reprojects else None
        self._from_degrees, self._in_degrees = is_in_degrees(crs), is_in_degrees(self._target)
        self._slack = SEAM_SLACK if reprojects else ROUNDING

    def normalise(self, wkb: Sequence[bytes | None], geometries: Geometries) -> tuple[Geometries, Mask, Mask]:
        """The geometries as they go into the table but for `promote`, which rows stay, and which were repaired.

        Raises NullGeometry where the rule refuses rows without one, OtherGeometryType where the column does not
        take one, UnplaceableShape where one has no exact place in the target CRS.
        """
        present = _present(wkb)
        kept = self._apply_policy(~present, self._rule.null_geometry, "without geometry")
        kept &= ~self._reject(present & shapely.is_missing(geometries), "geometry cannot be read")
        kept &= self._apply_policy(shapely.is_empty(geometries), self._rule.empty_geometry, "with empty geometry")
        kept &= ~self._reject(kept & ~_is_finite(geometries), "coordinates are not finite")
        work = _only(kept, geometries)
        work = self._flatten(work)
        repaired_there = np.zeros(len(work), dtype=bool)
        if self._reprojection is not None:
            work, repaired_there = self._place(work, self._reprojection)
            kept &= ~self._reject(kept & ~_is_finite(work), "outside of the target CRS")
        if self._in_degrees:
            kept &= ~self._reject(kept & _is_off_globe(work), "latitude beyond a pole, or longitude beyond two turns")
        work = _only(kept, work)
        work, repaired = self._repair(work)
        if self._in_degrees and self._cuts:
            work = self._split(work)
        kept &= ~self._reject(kept & present & shapely.is_missing(work), "nothing is left of the shape when repaired")
        work = _only(kept, work)
        self._check_types(work)
        self._count(work)
        return work, kept, (repaired | repaired_there) & kept

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

    def _place(self, geometries: Geometries, reprojection: Reprojection) -> tuple[Geometries, Mask]:
        """The geometries in the target CRS, and which were repaired before.

        Those that a target CRS with an end at 180 degrees would tear apart are cut there first.
        """
        try:
            return self._reproject(geometries, reprojection)
        except UnplaceableShape:
            if self._in_degrees or not self._cuts:
                raise
        repaired = np.zeros(len(geometries), dtype=bool)
        if not self._from_degrees:
            geometries, repaired = self._reproject(geometries, Reprojection(self._crs, _WGS84))
            reprojection = Reprojection(_WGS84, self._target)
        outside = ~_is_finite(geometries)
        geometries, repaired_there = self._repair(_only(~outside, geometries))
        on_globe = np.flatnonzero(~_is_off_globe(geometries))
        geometries[on_globe] = self._split(geometries[on_globe])
        made, _ = self._reproject(geometries, reprojection)
        made[outside] = NOWHERE
        return made, repaired | repaired_there

    def _reproject(self, geometries: Geometries, reprojection: Reprojection) -> tuple[Geometries, Mask]:
        made, at_pole = reprojection(geometries)
        repaired = np.zeros(len(geometries), dtype=bool)
        sound, repaired[at_pole] = self._repair(geometries[at_pole])
        for index, geometry in zip(at_pole.tolist(), sound, strict=True):
            try:
                made[index] = None if geometry is None else reprojection.over_pole(geometry)
            except UnplaceableShape as error:
                raise UnplaceableShape(index, str(error)) from None
        self._tally.split += len(at_pole)
        return made, repaired

    def _repair(self, geometries: Geometries) -> tuple[Geometries, Mask]:
        invalid = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
        for index in np.flatnonzero(invalid):
            geometries[index] = _same_kind(_made_valid(geometries[index]), geometries[index])
        self._tally.repaired += int(np.count_nonzero(invalid & ~shapely.is_missing(geometries)))
        return geometries, invalid

    def _split(self, geometries: Geometries) -> Geometries:
        """Cut what reaches beyond 180 degrees, and round off what does so by no more than rounding."""
        beyond = np.flatnonzero(is_beyond(geometries))
        if beyond.size:
            self._tally.split += int(np.count_nonzero(crosses_antimeridian(geometries[beyond], slack=self._slack)))
            geometries = geometries.copy()
            geometries[beyond] = cut_at_antimeridian(geometries[beyond], slack=self._slack)
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
    finite[owners[~(np.isfinite(coordinates[:, 0]) & np.isfinite(coordinates[:, 1]))]] = False
    return finite


def _is_off_globe(geometries: Geometries) -> Mask:
    west, south, east, north = shapely.bounds(geometries).T
    off: Mask = (south < -90.0 - ROUNDING) | (north > 90.0 + ROUNDING) | (west < -720.0) | (east > 720.0)
    return off


def _made_valid(geometry: BaseGeometry) -> BaseGeometry:
    try:
        made: BaseGeometry = shapely.make_valid(geometry)
    except shapely.GEOSException:  # a part that collapsed to a point, beside others that did not
        made = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    return made


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
