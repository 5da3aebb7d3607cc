"""A raster each cell of which states its own longitude and latitude: swaths, rotated and bent model grids.

Here: what lies between the cells' centres, and half a cell beyond the outermost. Not here: reading the coordinates
(`formats.cf_axes`), outlines (`footprint`).
"""

from dataclasses import dataclass, field

import numpy as np

from geo_assets.errors import NoFootprint
from geo_assets.raster.horizontal_crs import Array

_FLAT = 1e-15


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
        if np.min(turns) < -_FLAT and np.max(turns) > _FLAT:
            raise NoFootprint("The cells of its two-dimensional coordinates fold over each other.")

    def provenance(self, outline: str) -> str:
        """Says that it is approximate, and why."""
        return f"approximate: {outline}, half a cell beyond the outermost of its {self.name}"


def _cell(corner: Array, count: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], Array]:
    """The index of the centre before each corner and the share of the way to the next; beyond 0..1 past the edges."""
    position = corner - 0.5
    index = np.clip(np.floor(position), 0, count - 2).astype(np.int64)
    return index, (position - index)[..., np.newaxis]
