"""Where on the globe a raster lies: its outline in WGS 84, as GeoJSON wants it.

Here: the outline of the whole raster (RFC 7946 geometry and bbox). Not here: how columns and rows become
longitudes and latitudes (`grid`), and outlines of valid pixels (`valid_data`, `valid_footprint`).

The antimeridian package is not used to split: it makes the bbox of a raster from 0 to 360 degrees collapse to
0..0, and by default cuts flat edges along great circles. Here the outline is unwrapped first: splitting is a cut.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.errors import MissingCrs, MissingTransform, NoFootprint
from geo_assets.models import Footprint, RasterMetadata, Refusal
from geo_assets.raster.grid import Grid, grid_of
from geo_assets.raster.horizontal_crs import Array
from geo_assets.raster.unwrap import Bbox, fold, forward_differences, outline_polygons
from geo_assets.raster.valid_data import ValidArea
from geo_assets.raster.valid_footprint import place_within

FEWEST_POINTS, MOST_POINTS = 8, 1024
CHORD_TOLERANCE = 1e-4
SLIVER_TOLERANCE = 0.02
_NOISE_DEGREES = 1e-8  # a millimetre: PROJ's iterated inverses are no smoother
_SAMPLE_FRACTIONS = (np.arange(7) + 0.5) / 7
_SAMPLES_ACROSS, _SAMPLES_DOWN = (each.ravel() for each in np.meshgrid(_SAMPLE_FRACTIONS, _SAMPLE_FRACTIONS))
_REFUSALS = {error.code: error for error in (MissingCrs, MissingTransform, NoFootprint)}


def footprint_wgs84(metadata: RasterMetadata, valid_area: ValidArea | None = None) -> Footprint:
    """The outline of the raster's edges in WGS 84 (OGC:CRS84), split at the antimeridian, closed over a pole.

    Edges are straight in the raster's CRS, so each gets points until the chords between them miss the true edge
    by less than 1/10,000 of the outline's length and 1/50 of its width, or 1 mm (at most 1,024 points an edge).
    The geometry is valid, wound counter-clockwise, rounded to 7 decimals (1 cm), and was checked to contain a grid
    of the raster's own pixels. A global grid that reaches half a pixel past a pole (pixel-is-point) is cut there.
    A raster without geotransform is placed by its ground control points or RPCs; ``source`` calls that approximate.

    With ``valid_area`` the outline of that, within the raster's edges; where that cannot be, ``source`` says why.
    Raises MissingCrs, MissingTransform, or NoFootprint where the outline has no place on the Earth.
    """
    return footprint_of_grid(grid_of(metadata), valid_area)


def footprint_of_grid(grid: Grid, valid_area: ValidArea | None = None) -> Footprint:
    """What `footprint_wgs84` gives for a raster on this grid. Raises NoFootprint."""
    longitude, latitude, points = _outline(grid)
    geometry, bbox = _placed(grid, longitude, latitude)
    note = ""
    if valid_area is not None:
        note = f"; {valid_area.note}"
        if valid_area.polygons is not None:
            try:
                geometry, bbox = place_within(geometry, valid_area.polygons, grid=grid, points=points)
            except NoFootprint as error:
                note = f"; valid pixels are not outlined ({error.message})"
    return Footprint(
        geometry=_geojson(geometry),
        bbox=bbox,
        source=grid.provenance(f"raster edges, {points} points per edge") + note,
    )


def with_footprint(metadata: RasterMetadata, valid_area: ValidArea | None = None) -> RasterMetadata:
    """The same metadata with its footprint, or with the reason why it has none; without its ground control points.

    A footprint that is known already is kept.
    """
    if metadata.footprint is not None:
        return metadata
    footprint: Footprint | Refusal
    try:
        footprint = footprint_wgs84(metadata, valid_area)
    except (MissingCrs, MissingTransform, NoFootprint) as error:
        footprint = Refusal(error.code, error.message)
    return replace(metadata, footprint=footprint, ground_control=None)


def known_footprint(metadata: RasterMetadata) -> Footprint:
    """The footprint that was worked out, or working it out now; raises as `footprint_wgs84` does."""
    match metadata.footprint:
        case None:
            return footprint_wgs84(metadata)
        case Refusal(code, message):
            raise _REFUSALS[code](message)
        case Footprint() as footprint:
            return footprint


@lru_cache(maxsize=16)
def _unit_ring(points: int) -> tuple[Array, Array]:
    """(column, row) round a raster of one pixel, ``points`` an edge, the corners included, not closed."""
    forth = np.linspace(0.0, 1.0, points, endpoint=False)
    back, zero, one = 1.0 - forth, np.zeros(points), np.ones(points)
    return np.concatenate([zero, forth, one, back]), np.concatenate([forth, one, back, zero])


def _outline(grid: Grid) -> tuple[Array, Array, int]:
    """Longitudes and latitudes round the raster, and how many points an edge got."""
    points = FEWEST_POINTS
    while True:
        points *= 2
        across, down = _unit_ring(points)
        columns, rows = across * grid.shape[1], down * grid.shape[0]
        longitude, latitude = grid.to_wgs84(columns, rows)
        if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
            raise NoFootprint(f"An edge of the raster has no longitude and latitude in {grid.name}.")
        if points >= MOST_POINTS or _chords_are_close(longitude, latitude):
            break
    grid.check_edges(columns, rows, (longitude, latitude))
    return longitude, latitude, points


def _chords_are_close(longitude: Array, latitude: Array) -> bool:
    """Whether every second point lies near the middle of the chord between its neighbours (then all do)."""
    squeeze = np.cos(np.radians(latitude))
    east, north = _steps(longitude) * squeeze, forward_differences(latitude)
    left, bottom, right, top = np.hypot(east, north).reshape(4, -1).sum(axis=1).tolist()
    narrow = min(left + right, bottom + top) / 2
    allowed = min(CHORD_TOLERANCE * (left + bottom + right + top), SLIVER_TOLERANCE * narrow)
    before, after = slice(0, None, 2), slice(1, None, 2)
    miss = np.hypot(east[after] - east[before], north[after] - north[before]) / 2
    return bool(miss.max() <= max(allowed, _NOISE_DEGREES))


def _steps(longitude: Array) -> Array:
    """The way east from each point to the next, in (-180, 180] degrees."""
    return 180.0 - (180.0 - forward_differences(longitude)) % 360.0


def _placed(grid: Grid, longitude: Array, latitude: Array) -> tuple[BaseGeometry, Bbox]:
    """The first reading of the outline that contains the raster's own pixels: over which pole, if any, is open."""
    samples = _interior(grid)
    for polygon in outline_polygons(longitude, latitude):
        folded, bbox = fold(polygon)
        if not folded.is_empty and np.all(shapely.intersects_xy(folded, *samples)):
            return folded, bbox
    raise NoFootprint(f"Reprojected from {grid.name}, the raster's outline does not enclose its own pixels.")


def _interior(grid: Grid) -> tuple[Array, Array]:
    """Longitudes and latitudes of a grid of the raster's own pixels."""
    longitude, latitude = grid.to_wgs84(_SAMPLES_ACROSS * grid.shape[1], _SAMPLES_DOWN * grid.shape[0])
    known = np.isfinite(longitude) & np.isfinite(latitude)
    return (longitude[known] + 180.0) % 360.0 - 180.0, latitude[known]


def _geojson(geometry: BaseGeometry) -> dict[str, Any]:
    """A polygon or several as GeoJSON; shapely's own way leads through text."""
    polygons = [
        [shapely.get_coordinates(ring).tolist() for ring in (each.exterior, *each.interiors)]
        for each in shapely.get_parts(geometry)
    ]
    if geometry.geom_type == "Polygon":
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
