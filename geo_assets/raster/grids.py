"""How a raster lies on the globe: from column and row to longitude and latitude.

Here: the grid of a geotransform on a CRS, grids whose cells state their own longitude and latitude, grids that ground
control points or RPCs only approximate (through GDAL's own transformers, from facts of the file alone: no elevation
model is asked) with the checks that tell a usable placement, and the choice of a raster's grid. Not here: outlines
(`footprint`), and reading coordinates (`formats.cf`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioError
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer

from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint
from geo_assets.models import GroundControl, RasterMetadata
from geo_assets.raster.crs import Array, HorizontalCrs, horizontal_crs


class Grid(Protocol):
    """A raster on the globe. ``shape`` is (rows, columns), ``name`` what places it, such as "EPSG:32633"."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def name(self) -> str: ...

    def to_wgs84(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """Longitude and latitude in degrees of pixel corners; not finite where there is no such place."""
        ...

    def check_edges(self, columns: Array, rows: Array, wgs84: tuple[Array, Array]) -> None:
        """Raise NoFootprint where ``wgs84``, the places `to_wgs84` gave for points of the edges, are false."""
        ...

    def provenance(self, outline: str) -> str:
        """In words how ``outline``, such as "raster edges", came to its longitudes and latitudes."""
        ...


@dataclass(frozen=True, slots=True)
class AffineGrid:
    """A raster with a geotransform on its CRS."""

    shape: tuple[int, int]
    transform: tuple[float, float, float, float, float, float]
    crs: HorizontalCrs

    def __post_init__(self) -> None:
        a, b, _, d, e, _ = self.transform
        if not np.all(np.isfinite(self.transform)) or a * e - b * d == 0:
            raise NoFootprint(f"The geotransform {self.transform} gives the raster no area.")
        if self.crs.latitude_limit is not None:
            self._check_degrees(self.crs.latitude_limit)

    def _check_degrees(self, limit: float) -> None:
        """Geographic coordinates past a pole, or round the globe twice, are no coordinates of anything."""
        rows, columns = self.shape
        x, y = self.to_crs(np.array([0.0, columns, columns, 0.0]), np.array([0.0, 0.0, rows, rows]))
        half_pixel = (abs(self.transform[3]) + abs(self.transform[4])) / 2
        if np.max(np.abs(y)) > limit + half_pixel * 1.001:
            raise NoFootprint(f"Its latitudes run from {np.min(y):g} to {np.max(y):g}, past the pole at {limit:g}.")
        if np.ptp(x) > 8 * limit or np.max(np.abs(x)) > 16 * limit:
            raise NoFootprint(
                f"Its longitudes run from {np.min(x):g} to {np.max(x):g}, more than twice round the globe."
            )

    @property
    def name(self) -> str:
        """The CRS."""
        return self.crs.name

    def to_crs(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """x and y in CRS units."""
        a, b, c, d, e, f = self.transform
        return a * columns + b * rows + c, d * columns + e * rows + f

    def to_wgs84(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """Longitude and latitude; what reaches past a pole by half a pixel is at the pole."""
        x, y = self.to_crs(columns, rows)
        limit = self.crs.latitude_limit
        return self.crs.to_wgs84(x, y if limit is None else np.clip(y, -limit, limit))

    def check_edges(self, columns: Array, rows: Array, wgs84: tuple[Array, Array]) -> None:
        """Raise NoFootprint where the way to longitude and latitude and back ends more than a pixel away."""
        if self.crs.latitude_limit is None:
            a, b, _, d, e, _ = self.transform
            pixel = max(abs(a), abs(b), abs(d), abs(e))
            self.crs.check_round_trip(*self.to_crs(columns, rows), wgs84, allowed=pixel)

    def provenance(self, outline: str) -> str:
        """Names the CRS."""
        return f"{outline}, reprojected from {self.name}"


def grid_of(metadata: RasterMetadata) -> Grid:
    """The raster's grid: of its geotransform, or else of its ground control points, or else of its RPCs.

    Raises MissingCrs, MissingTransform, or NoFootprint where what there is places it nowhere.
    """
    if metadata.crs_wkt2 is not None and metadata.transform is not None:
        return AffineGrid(metadata.shape, metadata.transform, horizontal_crs(metadata.crs_wkt2))
    control, rpcs = metadata.ground_control, metadata.tags.get("RPC")
    if control is not None and control.crs_wkt2 is not None:
        return control_point_grid(metadata.shape, control)
    if rpcs is not None:
        return rpc_grid(metadata.shape, rpcs)
    if metadata.crs_wkt2 is None:
        points = f", nor have its {metadata.gcp_count} ground control points" if metadata.gcp_count else ""
        raise MissingCrs(f"The raster has no coordinate reference system{points}.")
    raise MissingTransform("The raster has a CRS but no geotransform, ground control points or RPCs.")


_FLAT_CELL = 1e-15


@dataclass(frozen=True, slots=True, eq=False)
class CurvilinearGrid:
    """Longitudes and latitudes in degrees of the centres of all cells, as rows and columns, at least two of each."""

    longitude: Array
    latitude: Array
    _points: Array = field(init=False, repr=False)
    """The centres as points of the unit sphere, which know no antimeridian."""

    def __post_init__(self) -> None:
        longitude, latitude = np.radians(self.longitude), np.radians(self.latitude)
        level = np.cos(latitude)
        points = np.stack([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)], axis=-1)
        object.__setattr__(self, "_points", points)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.longitude.shape
        return rows, columns

    @property
    def name(self) -> str:
        """What places it."""
        return "two-dimensional longitude and latitude coordinates"

    def to_wgs84(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """Longitude and latitude of cell corners, on the sphere between or beyond the four nearest centres."""
        points = self._points
        row, down = _cell(rows, self.shape[0])
        column, across = _cell(columns, self.shape[1])
        upper = points[row, column] * (1 - across) + points[row, column + 1] * across
        lower = points[row + 1, column] * (1 - across) + points[row + 1, column + 1] * across
        x, y, z = np.moveaxis(upper * (1 - down) + lower * down, -1, 0)
        return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))

    def check_edges(self, columns: Array, rows: Array, wgs84: tuple[Array, Array]) -> None:  # noqa: ARG002
        """Raise NoFootprint where a latitude is past a pole, or the cells fold over each other."""
        if np.max(np.abs(self.latitude)) > 90 or np.max(np.abs(self.longitude)) > 720:
            raise NoFootprint("Its two-dimensional coordinates are no degrees of longitude and latitude.")
        points = self._points
        corner = points[:-1, :-1]
        turns = np.einsum("...i,...i", np.cross(points[:-1, 1:] - corner, points[1:, :-1] - corner), corner)
        if np.min(turns) < -_FLAT_CELL and np.max(turns) > _FLAT:
            raise NoFootprint("The cells of its two-dimensional coordinates fold over each other.")

    def provenance(self, outline: str) -> str:
        """Says that it is approximate, and why."""
        return f"approximate: {outline}, half a cell beyond the outermost of its {self.name}"


def _cell(corner: Array, count: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], Array]:
    """The index of the centre before each corner and the share of the way to the next; beyond 0..1 past the edges."""
    position = corner - 0.5
    index = np.clip(np.floor(position), 0, count - 2).astype(np.int64)
    return index, (position - index)[..., np.newaxis]


MOST_SPLINE_POINTS = 500
"""A thin-plate spline through this many points takes 25 ms, and the time grows with their cube."""

FURTHEST_RPC = 1.5
"""RPCs are made for coordinates that their offsets and scales bring to -1..1; further out they go astray."""

_FLAT = 1e-6
_CELLS = 8


@dataclass(frozen=True, slots=True)
class ControlPointGrid:
    """A raster placed by ground control points in ``crs``."""

    shape: tuple[int, int]
    crs: HorizontalCrs
    method: str
    pixel: float
    _transformer: GCPTransformer

    @property
    def name(self) -> str:
        """The points' CRS."""
        return self.crs.name

    def _to_crs(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        x, y = self._transformer.xy(rows, columns, offset="ul")
        return x, y

    def to_wgs84(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """Longitude and latitude, not finite past a pole."""
        x, y = self._to_crs(columns, rows)
        limit = self.crs.latitude_limit
        return self.crs.to_wgs84(x, y if limit is None else np.where(np.abs(y) > limit, np.inf, y))

    def check_edges(self, columns: Array, rows: Array, wgs84: tuple[Array, Array]) -> None:
        """Raise NoFootprint where an edge lies outside the area of the CRS."""
        if self.crs.latitude_limit is None:
            self.crs.check_round_trip(*self._to_crs(columns, rows), wgs84, allowed=self.pixel)

    def provenance(self, outline: str) -> str:
        """Says that it is approximate, and by which points."""
        return f"approximate: {outline}, placed by {self.method} in {self.name}"


@dataclass(frozen=True, slots=True)
class RpcGrid:
    """A raster placed by rational polynomial coefficients, everywhere at the height they are centred on."""

    shape: tuple[int, int]
    rpcs: RPC
    _transformer: RPCTransformer

    @property
    def name(self) -> str:
        """What RPCs refer to, by definition."""
        return "rational polynomial coefficients (WGS 84)"

    def to_wgs84(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        """Longitude and latitude; not finite where GDAL's iteration finds none."""
        longitude, latitude = self._transformer.xy(rows, columns, zs=self._heights(rows), offset="ul")
        return longitude, latitude

    def check_edges(self, columns: Array, rows: Array, wgs84: tuple[Array, Array]) -> None:
        """Raise NoFootprint outside the area the RPCs are made for, or where they do not lead back."""
        longitude, latitude = wgs84
        rpcs = self.rpcs
        east = (longitude - rpcs.long_off + 180.0) % 360.0 - 180.0
        normalised = (
            (columns - 0.5 - rpcs.samp_off) / rpcs.samp_scale,
            (rows - 0.5 - rpcs.line_off) / rpcs.line_scale,
            east / rpcs.long_scale,
            (latitude - rpcs.lat_off) / rpcs.lat_scale,
        )
        if not np.max(np.abs(normalised)) <= FURTHEST_RPC:
            raise NoFootprint("The raster extends beyond the area its RPCs are valid for.")
        row, column = self._transformer.rowcol(longitude, latitude, zs=self._heights(rows), op=np.positive)
        if not np.max(np.hypot(column - columns, row - rows)) <= 1.0:
            raise NoFootprint("The RPCs lead from an edge of the raster to a place, but not back.")

    def provenance(self, outline: str) -> str:
        """Says that it is approximate, and at which height."""
        return (
            f"approximate: {outline}, placed by rational polynomial coefficients "
            f"at their height offset of {self.rpcs.height_off:g} m"
        )

    def _heights(self, like: Array) -> Array:
        return np.full_like(like, self.rpcs.height_off, dtype=np.float64)


def control_point_grid(shape: tuple[int, int], control: GroundControl) -> ControlPointGrid:
    """The grid of a raster of ``shape`` (rows, columns) with these points, which have a CRS.

    Up to 500 points a thin-plate spline goes through all of them; more get GDAL's polynomial of second order.
    Raises NoFootprint where they are fewer than three, on one line, contradict each other or fold the raster.
    """
    crs = horizontal_crs(control.crs_wkt2 or "")
    points = np.array(control.points, dtype=np.float64).reshape(-1, 4)
    pixels, ground = points[:, :2], points[:, 2:].copy()
    if not np.all(np.isfinite(points)):
        raise NoFootprint("A ground control point has coordinates that are no numbers.")
    if crs.latitude_limit is not None:
        ground[:, 0] = _unwrapped(ground[:, 0], turn=4 * crs.latitude_limit)
    pixel = _spread(ground) / _spread(pixels)
    if len(np.unique(pixels, axis=0)) < len(np.unique(points, axis=0)):
        raise NoFootprint("The ground control points contradict each other: one pixel lies in two places.")
    by_spline = len(points) <= MOST_SPLINE_POINTS
    with _refusing("The ground control points give no placement"):
        transformer = GCPTransformer(
            [
                GroundControlPoint(row=row, col=column, x=x, y=y, z=0.0)
                for (column, row), (x, y) in zip(pixels.tolist(), ground.tolist(), strict=True)
            ],
            tps=by_spline,
        )
    fit = "a thin-plate spline through" if by_spline else "a second-order polynomial fit to"
    grid = ControlPointGrid(shape, crs, f"{fit} {len(points):,} ground control points", pixel, transformer)
    _check_unfolded(grid)
    return grid


def rpc_grid(shape: tuple[int, int], rpcs: Mapping[str, str]) -> RpcGrid:
    """The grid of a raster of ``shape`` (rows, columns) with GDAL's metadata domain RPC.

    Raises NoFootprint where a coefficient is missing or no number, or they fold the raster.
    """
    try:
        parsed = RPC.from_gdal(dict(rpcs))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise NoFootprint(f"The RPCs are incomplete: {error!r}.") from error
    scales = (parsed.line_scale, parsed.samp_scale, parsed.lat_scale, parsed.long_scale, parsed.height_scale)
    offsets = (parsed.line_off, parsed.samp_off, parsed.lat_off, parsed.long_off, parsed.height_off)
    if not (np.all(np.isfinite([*scales, *offsets])) and all(scales)):
        raise NoFootprint("The RPCs have an offset or a scale that is no number, or a scale of zero.")
    with _refusing("The RPCs give no placement"):
        grid = RpcGrid(shape, parsed, RPCTransformer(parsed))
    _check_unfolded(grid)
    return grid


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except (CPLE_BaseError, RasterioError) as error:
        raise NoFootprint(f"{what}: {error}.") from error


def _unwrapped(longitude: Array, *, turn: float) -> Array:
    """Longitudes without the jump at the antimeridian: those of one raster lie within half a turn of the first."""
    unwrapped: Array = longitude - turn * np.round((longitude - longitude[:1]) / turn)
    if unwrapped.size and np.ptp(unwrapped) > turn / 2:
        raise NoFootprint("The ground control points go more than half round the globe.")
    return unwrapped


def _spread(points: Array) -> float:
    """How far the points, shape (n, 2), reach; raises NoFootprint if they are on one line."""
    if len(points) < 3:
        raise NoFootprint(f"{len(points)} ground control points give no outline; three are the fewest.")
    lengths = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if lengths[1] <= _FLAT * lengths[0]:
        raise NoFootprint("The ground control points lie on one line, which gives no outline.")
    return float(lengths[0])


def _check_unfolded(grid: ControlPointGrid | RpcGrid) -> None:
    """Raise NoFootprint where the raster, seen from above, turns its back somewhere: then it is folded over."""
    rows, columns = grid.shape
    row, column = np.meshgrid(np.linspace(0.0, rows, _CELLS + 1), np.linspace(0.0, columns, _CELLS + 1), indexing="ij")
    with _refusing("The placement fails"):
        longitude, latitude = grid.to_wgs84(column.ravel(), row.ravel())
    if not (np.all(np.isfinite(longitude)) and np.all(np.isfinite(latitude))):
        raise NoFootprint(f"A part of the raster has no longitude and latitude by its {grid.name}.")
    east, north = np.radians(longitude), np.radians(latitude)
    place = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)
    place = place.reshape(_CELLS + 1, _CELLS + 1, 3)
    falling, rising = place[1:, 1:] - place[:-1, :-1], place[:-1, 1:] - place[1:, :-1]
    facing = np.einsum("ijk,ijk->ij", np.cross(falling, rising), place[1:, 1:])
    if not (np.all(facing > 0) or np.all(facing < 0)):
        raise NoFootprint("The ground control points or RPCs fold the raster over itself.")
