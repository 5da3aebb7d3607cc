"""The outline of valid pixels on the globe, within the outline of the raster.

Here: reprojecting polygons of pixels as `footprint` does the raster's edges. Not here: finding them (`valid_data`).
"""

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from geo_assets.errors import NoFootprint
from geo_assets.raster.grid import Grid
from geo_assets.raster.horizontal_crs import Array
from geo_assets.raster.unwrap import Bbox, bbox_of_parts, fold, outline_polygons, polygon_parts, rounded


def place_within(outline: BaseGeometry, area: BaseGeometry, *, grid: Grid, points: int) -> tuple[BaseGeometry, Bbox]:
    """Polygons in (column, row) as an RFC 7946 geometry in WGS 84, cut to ``outline``, and its bbox.

    Edges get points where those of ``outline`` have theirs, ``points`` along an edge of the raster.
    Raises NoFootprint where nothing of it can be placed.
    """
    placed = [_placed(part, grid=grid, points=points) for part in polygon_parts(area)]
    within = shapely.intersection(shapely.union_all(placed), outline)
    geometry = rounded(polygon_parts(within))
    if geometry.is_empty:
        raise NoFootprint("the outline of the valid pixels encloses no area")
    return geometry, bbox_of_parts(geometry)


def _placed(polygon: Polygon, *, grid: Grid, points: int) -> BaseGeometry:
    outer, *holes = (
        _placed_ring(np.asarray(ring.coords)[:-1], grid=grid, points=points)
        for ring in (polygon.exterior, *polygon.interiors)
    )
    return shapely.difference(outer, shapely.union_all(holes))


def _placed_ring(corners: Array, *, grid: Grid, points: int) -> BaseGeometry:
    """What a ring of (column, row) encloses: of the ways to read it the one that has a point inside it inside."""
    inside = Polygon(corners).representative_point()
    longitude, latitude = grid.to_wgs84(np.array([inside.x]), np.array([inside.y]))
    sample = (longitude + 180.0) % 360.0 - 180.0, latitude
    rows, columns = grid.shape
    dense = with_points_at(corners, steps=(columns / points, rows / points))
    for polygon in outline_polygons(*grid.to_wgs84(dense[:, 0], dense[:, 1])):
        folded, _ = fold(polygon)
        if not folded.is_empty and np.all(shapely.intersects_xy(folded, *sample)):
            return folded
    raise NoFootprint("an outline of valid pixels does not enclose its own pixels on the globe")


def with_points_at(corners: Array, *, steps: tuple[float, float]) -> Array:
    """A ring, shape (n, 2), with more points where it crosses multiples of the step in the direction it goes most."""
    dense = [corners[:0]]
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        axis = int(np.argmax(np.abs(end - start) / steps))
        low, high = sorted((start[axis] / steps[axis], end[axis] / steps[axis]))
        at = np.arange(np.floor(low) + 1, np.ceil(high)) * steps[axis]
        fractions = np.sort((at - start[axis]) / (end[axis] - start[axis])) if at.size else at
        dense += [start[None, :], start + fractions[:, None] * (end - start)]
    return np.concatenate(dense)
