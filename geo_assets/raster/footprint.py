"""Where on the globe a raster lies, and its valid pixels: outlines in WGS 84, as GeoJSON wants them.

Here: the outline of the whole raster (RFC 7946 geometry and bbox), and that of its valid pixels, read from a level that
fits a budget of bytes. Not here: how columns and rows become longitudes and latitudes (`grids`).

The antimeridian package is not used to split: it makes the bbox of a raster from 0 to 360 degrees collapse to
0..0, and by default cuts flat edges along great circles. Here the outline is unwrapped first: splitting is a cut.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from geo_assets.errors import Corrupt, MissingCrs, MissingTransform, NoFootprint, TooLarge
from geo_assets.models import Footprint, RasterMetadata, Refusal
from geo_assets.raster.bands import choose_level, of_rasterio
from geo_assets.raster.crs import Array
from geo_assets.raster.grids import Grid, grid_of
from geo_assets.raster.header import open_raster
from geo_assets.raster.tiff import TiffStructure
from geo_assets.raster.unwrap import (
    Bbox,
    bbox_of_parts,
    fold,
    forward_differences,
    outline_polygons,
    polygon_parts,
    rounded,
)

MOST_SIDE = 1024
"""The mask is halved until no side has more pixels than this."""

MOST_EDGES = 30_000
"""... and until there are no more edges between valid and other pixels than this, which bounds time."""

MOST_CORNERS = 1000
"""... and until its outline, simplified, has no more corners than this, which bounds the item."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ValidArea:
    """The outline of the valid pixels in (column, row) of the full raster, None where it is the raster's edges.

    ``note`` says which pixels were looked at and what was found, or why none were.
    """

    polygons: BaseGeometry | None
    note: str


def read_valid_area(
    file: BinaryIO, structure: TiffStructure, *, budget_bytes: int, tolerance_pixels: float
) -> ValidArea:
    """The outline of the raster's valid pixels, from the level that statistics would be of (see `choose_level`).

    A pixel is valid as in statistics: not nodata, masked, transparent, NaN or infinite, in at least one band.
    The mask is made coarser, a block being valid where a pixel of it is, until its outline is bounded; that is
    then simplified within ``tolerance_pixels`` of the pixels it ended with.
    """
    level = choose_level(structure, budget_bytes=budget_bytes)
    if isinstance(level, str):
        return ValidArea(None, f"valid pixels were not looked for ({level})")
    try:
        with open_raster(file, overview=level.overview) as dataset:
            mask = valid_mask(dataset)
    except (Corrupt, TooLarge) as error:  # too large: blocks that no estimate foresaw
        return ValidArea(None, f"valid pixels were not looked for (the pixels cannot be read: {error.message})")
    what = "the raster" if level.overview is None else f"the overview at 1/{level.factor}"
    if mask.all():
        return ValidArea(None, f"every pixel of {what} is valid")
    if not mask.any():
        return ValidArea(None, f"no pixel of {what} is valid")
    polygons, coarseness = outline_mask(mask, tolerance_pixels=tolerance_pixels)
    main = structure.main
    scale = (main.width / mask.shape[1], main.height / mask.shape[0])
    note = f"the valid pixels of {what}, within {tolerance_pixels:g} pixels of 1/{level.factor * coarseness}"
    return ValidArea(shapely.transform(polygons, lambda xy: xy * scale), note)


def valid_mask(dataset: Any) -> Mask:
    """Which pixels of an open dataset are valid in at least one band, shape (rows, columns)."""
    mask: Mask = dataset.dataset_mask() != 0
    if all(of_rasterio(dtype).startswith(("float", "cfloat")) for dtype in dataset.dtypes):
        valid = np.zeros_like(mask)
        for number in dataset.indexes:
            valid |= np.isfinite(dataset.read(number)) & (dataset.read_masks(number) != 0)
        mask &= valid
    return mask


def outline_mask(mask: Mask, *, tolerance_pixels: float) -> tuple[BaseGeometry, int]:
    """The outline of the true pixels in (column, row) of ``mask``, and how many of its pixels went into one."""
    rows, columns = mask.shape
    coarse, coarseness = mask, 1
    while True:
        if max(coarse.shape) <= MOST_SIDE and _count_edges(coarse) <= MOST_EDGES:
            outline = _polygons(coarse, tolerance_pixels)
            if shapely.get_num_coordinates(outline) <= MOST_CORNERS or coarse.size == 1:
                # The last block of a row or a column may reach beyond the mask.
                back = shapely.transform(outline, lambda xy, by=coarseness: np.minimum(xy * by, (columns, rows)))
                return back, coarseness
        coarse, coarseness = _halved(coarse), 2 * coarseness


def _halved(mask: Mask) -> Mask:
    rows, columns = mask.shape
    even = np.pad(mask, ((0, rows % 2), (0, columns % 2)))
    return even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]


def _count_edges(mask: Mask) -> int:
    return int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))


def _polygons(mask: Mask, tolerance: float) -> BaseGeometry:
    found = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    exact = shapely.union_all([shapely.geometry.shape(each) for each, _ in found])
    # Simplified apart, neighbours may overlap.
    return shapely.make_valid(exact.simplify(tolerance)).buffer(0)


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


def place_within(outline: BaseGeometry, area: BaseGeometry, *, grid: Grid, points: int) -> tuple[BaseGeometry, Bbox]:
    """Polygons in (column, row) as an RFC 7946 geometry in WGS 84, cut to ``outline``, and its bbox.

    Edges get points where those of ``outline`` have theirs, ``points`` along an edge of the raster.
    Raises NoFootprint where nothing of it can be placed.
    """
    placed = [_placed_pixels(part, grid=grid, points=points) for part in polygon_parts(area)]
    within = shapely.intersection(shapely.union_all(placed), outline)
    geometry = rounded(polygon_parts(within))
    if geometry.is_empty:
        raise NoFootprint("The outline of the valid pixels encloses no area.")
    return geometry, bbox_of_parts(geometry)


def _placed_pixels(polygon: Polygon, *, grid: Grid, points: int) -> BaseGeometry:
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
    raise NoFootprint("An outline of valid pixels does not enclose its own pixels on the Earth.")


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
