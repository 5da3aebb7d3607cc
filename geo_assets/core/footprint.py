"""Where on the globe a raster lies: its outline in WGS 84, as GeoJSON wants it.

Here: the outline of the whole raster (RFC 7946 geometry and bbox). Not here: the outline of its valid pixels,
and the choice of the CRS's transformer (`horizontal_crs`).

The antimeridian package is not used to split: it makes the bbox of a raster from 0 to 360 degrees collapse to
0..0, and by default cuts flat edges along great circles. Here the outline is unwrapped first: splitting is a cut.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.core.horizontal_crs import Array, HorizontalCrs, horizontal_crs
from geo_assets.core.unwrap import Bbox, fold, forward_differences, outline_polygons
from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint
from geo_assets.models import Footprint, RasterMetadata, Refusal

FEWEST_POINTS, MOST_POINTS = 8, 1024
CHORD_TOLERANCE = 1e-4
_NOISE_DEGREES = 1e-8  # a millimetre: PROJ's iterated inverses are no smoother
_INTERIOR_SAMPLES = 7
_REFUSALS = {error.code: error for error in (MissingCrs, MissingTransform, NoFootprint)}


@dataclass(frozen=True, slots=True)
class _Grid:
    """A raster on its CRS: takes (column, row) to longitude and latitude."""

    shape: tuple[int, int]
    transform: tuple[float, float, float, float, float, float]
    crs: HorizontalCrs

    def to_crs(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        a, b, c, d, e, f = self.transform
        return a * columns + b * rows + c, d * columns + e * rows + f

    def to_wgs84(self, columns: Array, rows: Array) -> tuple[Array, Array]:
        x, y = self.to_crs(columns, rows)
        limit = self.crs.latitude_limit
        return self.crs.to_wgs84(x, y if limit is None else np.clip(y, -limit, limit))


def footprint_wgs84(metadata: RasterMetadata) -> Footprint:
    """The outline of the raster's edges in WGS 84 (OGC:CRS84), split at the antimeridian, closed over a pole.

    Edges are straight in the raster's CRS, so each gets points until the chords between them miss the true edge
    by less than 1/10,000 of the outline's length or 1 mm (at most 1,024 points an edge). The geometry is valid, wound
    counter-clockwise, rounded to 7 decimals (1 cm), and was checked to contain a grid of the raster's own pixels.
    A global grid that reaches half a pixel past a pole (pixel-is-point) is cut there.

    Raises MissingCrs, MissingTransform, or NoFootprint where the outline has no place on the Earth.
    """
    if metadata.crs_wkt2 is None:
        raise MissingCrs(_no_crs_message(metadata))
    if metadata.transform is None:
        raise MissingTransform(f"The raster has a CRS but no geotransform{_other_placement(metadata)}.")
    grid = _Grid(metadata.shape, metadata.transform, horizontal_crs(metadata.crs_wkt2))
    _check_grid(grid)
    longitude, latitude, points = _outline(grid)
    geometry, bbox = _placed(grid, longitude, latitude)
    return Footprint(
        geometry=_geojson(geometry),
        bbox=bbox,
        source=f"raster edges, {points} points per edge, reprojected from {grid.crs.name}",
    )


def _geojson(geometry: BaseGeometry) -> dict[str, Any]:
    """A Polygon or MultiPolygon as GeoJSON: through text, shapely takes five times as long."""
    polygons = [
        [shapely.get_coordinates(ring).tolist() for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in shapely.get_parts(geometry)
    ]
    return {"type": geometry.geom_type, "coordinates": polygons[0] if geometry.geom_type == "Polygon" else polygons}


def with_footprint(metadata: RasterMetadata) -> RasterMetadata:
    """The same metadata with its footprint, or with the reason why it has none."""
    try:
        return replace(metadata, footprint=footprint_wgs84(metadata))
    except (MissingCrs, MissingTransform, NoFootprint) as error:
        return replace(metadata, footprint=Refusal(error.code, error.message))


def known_footprint(metadata: RasterMetadata) -> Footprint:
    """The footprint that was worked out, or working it out now; raises as `footprint_wgs84` does."""
    match metadata.footprint:
        case None:
            return footprint_wgs84(metadata)
        case Refusal(code, message):
            raise _REFUSALS[code](message)
        case Footprint() as footprint:
            return footprint


def _other_placement(metadata: RasterMetadata) -> str:
    found = [f"{metadata.gcp_count} ground control points"] if metadata.gcp_count else []
    found += ["rational polynomial coefficients (RPC)"] if metadata.has_rpcs else []
    return f"; it has only {' and '.join(found)}, which give no exact outline" if found else ""


def _no_crs_message(metadata: RasterMetadata) -> str:
    return f"The raster has no coordinate reference system{_other_placement(metadata)}."


def _check_grid(grid: _Grid) -> None:
    a, b, _, d, e, _ = grid.transform
    determinant = a * e - b * d
    if not np.all(np.isfinite(grid.transform)) or determinant == 0:
        raise NoFootprint(f"The geotransform {grid.transform} gives the raster no area.")
    if grid.crs.latitude_limit is not None:
        _check_degrees(grid, grid.crs.latitude_limit)


def _check_degrees(grid: _Grid, limit: float) -> None:
    """Geographic coordinates past a pole, or round the globe twice, are no coordinates of anything."""
    rows, columns = grid.shape
    x, y = grid.to_crs(np.array([0.0, columns, columns, 0.0]), np.array([0.0, 0.0, rows, rows]))
    half_pixel = (abs(grid.transform[3]) + abs(grid.transform[4])) / 2
    if np.max(np.abs(y)) > limit + half_pixel * 1.001:
        raise NoFootprint(f"Its latitudes run from {np.min(y):g} to {np.max(y):g}, past the pole at {limit:g}.")
    if np.ptp(x) > 8 * limit or np.max(np.abs(x)) > 16 * limit:
        raise NoFootprint(f"Its longitudes run from {np.min(x):g} to {np.max(x):g}, more than twice round the globe.")


def _ring(grid: _Grid, points: int) -> tuple[Array, Array]:
    """(column, row) round the raster, ``points`` an edge, the corners included, not closed."""
    rows, columns = grid.shape
    along, down = _unit_ring(points)
    return along * columns, down * rows


@cache
def _unit_ring(points: int) -> tuple[Array, Array]:
    forth = np.linspace(0.0, 1.0, points, endpoint=False)
    back, zero, one = 1.0 - forth, np.zeros(points), np.ones(points)
    return np.concatenate([zero, forth, one, back]), np.concatenate([forth, one, back, zero])


def _outline(grid: _Grid) -> tuple[Array, Array, int]:
    """Longitudes and latitudes round the raster, and how many points an edge got."""
    points = FEWEST_POINTS
    while True:
        points *= 2
        columns, rows = _ring(grid, points)
        longitude, latitude = grid.to_wgs84(columns, rows)
        if not (np.all(np.isfinite(longitude)) and np.all(np.isfinite(latitude))):
            raise NoFootprint(f"An edge of the raster has no longitude and latitude in {grid.crs.name}.")
        if points >= MOST_POINTS or _chords_are_close(longitude, latitude):
            break
    _check_inversion(grid, columns, rows)
    return longitude, latitude, points


def _check_inversion(grid: _Grid, columns: Array, rows: Array) -> None:
    pixel = float(np.max(np.abs(np.array(grid.transform)[[0, 1, 3, 4]])))
    error = grid.crs.round_trip_error(*grid.to_crs(columns, rows)) if grid.crs.latitude_limit is None else 0.0
    if not error <= pixel:
        raise NoFootprint(
            f"An edge of the raster lies outside the area of {grid.crs.name}: "
            "the way to longitude and latitude and back ends elsewhere."
        )


def _chords_are_close(longitude: Array, latitude: Array) -> bool:
    """Whether every second point lies near the middle of the chord between its neighbours (then all do)."""
    squeeze = np.cos(np.radians(latitude))
    east, north = _steps(longitude) * squeeze, forward_differences(latitude)
    length = float(np.sum(np.hypot(east, north)))
    before, after = slice(0, None, 2), slice(1, None, 2)
    miss = np.hypot(east[after] - east[before], north[after] - north[before]) / 2
    return float(np.max(miss)) <= max(CHORD_TOLERANCE * length, _NOISE_DEGREES)


def _steps(longitude: Array) -> Array:
    """The way east from each point to the next, in (-180, 180] degrees."""
    return 180.0 - (180.0 - forward_differences(longitude)) % 360.0


def _placed(grid: _Grid, longitude: Array, latitude: Array) -> tuple[BaseGeometry, Bbox]:
    """The first reading of the outline that contains the raster's own pixels: over which pole, if any, is open."""
    samples = _interior(grid)
    for polygon in outline_polygons(longitude, latitude):
        folded, bbox = fold(polygon)
        if not folded.is_empty and np.all(shapely.intersects_xy(folded, *samples)):
            return folded, bbox
    raise NoFootprint(f"Reprojected from {grid.crs.name}, the raster's outline does not enclose its own pixels.")


def _interior(grid: _Grid) -> tuple[Array, Array]:
    """Longitudes and latitudes of a grid of the raster's own pixels."""
    rows, columns = grid.shape
    along, down = _unit_samples()
    longitude, latitude = grid.to_wgs84(along * columns, down * rows)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    return (longitude[known] + 180.0) % 360.0 - 180.0, latitude[known]


@cache
def _unit_samples() -> tuple[Array, Array]:
    fractions = (np.arange(_INTERIOR_SAMPLES) + 0.5) / _INTERIOR_SAMPLES
    along, down = np.meshgrid(fractions, fractions)
    return along.ravel(), down.ravel()
