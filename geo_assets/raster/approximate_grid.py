"""Rasters without a geotransform: what ground control points or RPCs make of columns and rows.

Here: both grids, through GDAL's own transformers, from facts of the file alone (no elevation model is asked), and
the checks that tell a usable placement from numbers that are none. Not here: the grid of a geotransform (`grid`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioError
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer

from geo_assets.errors import NoFootprint
from geo_assets.models import GroundControl
from geo_assets.raster.horizontal_crs import Array, HorizontalCrs, horizontal_crs

MOST_SPLINE_POINTS = 500
"""A thin-plate spline through so many points takes 25 ms, and the time grows with their cube."""

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
            raise NoFootprint("The raster reaches beyond the area that its RPCs are made for.")
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
    """How far the points, shape (n, 2), reach; raises NoFootprint where they lie on one line."""
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
