"""How a raster lies on the globe: from column and row to longitude and latitude.

Here: what a grid is, the grid of a geotransform on a CRS, and the choice of a raster's grid. Not here: grids that
are only approximate (`approximate_grid`), and outlines (`footprint`).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint
from geo_assets.models import RasterMetadata
from geo_assets.raster.approximate_grid import control_point_grid, rpc_grid
from geo_assets.raster.horizontal_crs import Array, HorizontalCrs, horizontal_crs


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
