"""Pictures for people: footprints on a map, and sizes as bars. PNG bytes, drawn without a display.

Here: drawing. Not here: where the footprints and counts come from, or where the picture is shown.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import cartopy.crs as ccrs
import numpy as np
from cartopy.mpl.ticker import LatitudeFormatter, LongitudeFormatter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

_FOOTPRINT = "#d1495b"
_BAR = "#30638e"
_CURVES = ("#30638e", "#d1495b", "#edae49")
# Where the slowest blob took so many times as long as the fastest, the fast ones would lie on the axis.
_WIDE_SECONDS = 20
_LONGEST_NAME = 26
# A view narrower than this many degrees gets a small map of the world that shows where it is.
_LOCATOR_BELOW_DEGREES = 120.0
_SMALLEST_VIEW_DEGREES = 0.02
_MAP_PLACE = (0.075, 0.05, 0.905, 0.88)


def draw_footprints(geometries: Sequence[dict[str, Any]], *, title: str) -> bytes:
    """A map of GeoJSON ``geometries`` (EPSG:4326) over Natural Earth relief with a labelled graticule; PNG."""
    shapes = [shape(geometry) for geometry in geometries]
    west, south, east, north = _view(shapes)
    plate = ccrs.PlateCarree()
    figure = Figure(figsize=(9, 5), dpi=100)
    axes: Any = figure.add_axes(_MAP_PLACE, projection=plate)
    axes.set_extent((west, east, south, north), crs=plate)
    axes.stock_img()
    _draw_graticule(axes, (west, south, east, north))
    # A footprint that covers most of the view is drawn as a frame only, or it would tint all the rest.
    filled = [geometry for geometry in shapes if geometry.area < 0.4 * (east - west) * (north - south)]
    axes.add_geometries(filled, crs=plate, facecolor=_FOOTPRINT, edgecolor="none", alpha=0.35)
    axes.add_geometries(shapes, crs=plate, facecolor="none", edgecolor=_FOOTPRINT, linewidth=1.4)
    _mark_small(axes, shapes, view_width=east - west)
    axes.set_title(title, fontsize=11)
    if east - west < _LOCATOR_BELOW_DEGREES:
        _draw_locator(figure, plate, (west, south, east, north))
    return _png(figure)


def _draw_graticule(axes: Any, view: tuple[float, float, float, float]) -> None:
    """Lines and labels at round degrees, by the axes' own ticks: cartopy's gridliner takes six times as long."""
    west, south, east, north = view
    # A view too narrow for whole degrees has decimal ones: minutes and seconds would seldom be round.
    ticks = MaxNLocator(nbins=7, steps=[1, 1.5, 2, 3, 5, 6, 10])
    for axis, (low, high), formatter in (
        (axes.xaxis, (west, east), LongitudeFormatter()),
        (axes.yaxis, (south, north), LatitudeFormatter()),
    ):
        axis.set_visible(True)
        axis.set_ticks([tick for tick in ticks.tick_values(low, high) if low <= tick <= high])
        axis.set_major_formatter(formatter)
    axes.tick_params(labelsize=8, length=0)
    axes.grid(linewidth=0.4, color="black", alpha=0.4, linestyle="--")


def draw_size_histogram(sizes: Sequence[tuple[int, int]], *, title: str) -> bytes:
    """Bars of (decade, blobs), decade 3 being 1,000 to 9,999 bytes; PNG."""
    labels = [f"{_bytes_label(10**decade)}–{_bytes_label(10 ** (decade + 1))}" for decade, _ in sizes]
    figure = Figure(figsize=(7, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    bars = axes.bar(labels, [blobs for _, blobs in sizes], color=_BAR)
    axes.bar_label(bars)
    axes.set_ylabel("blobs")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def draw_latencies(shares: Sequence[float], curves: Mapping[str, Sequence[float]], *, title: str) -> bytes:
    """Which share of the blobs was searchable within how many seconds, a curve a path; PNG.

    ``curves`` holds for each path the seconds within which each of ``shares`` (0 to 1) was.
    """
    figure = Figure(figsize=(7, 3.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    percent = [100 * share for share in shares]
    for (path, seconds), colour in zip(curves.items(), _CURVES, strict=False):
        axes.plot(seconds, percent, color=colour, linewidth=2, label=path.replace("_", " "))
    longest = max(max(seconds) for seconds in curves.values())
    if longest > _WIDE_SECONDS * max(min(seconds) for seconds in curves.values()):
        axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds from the event to the item")
    axes.set_ylabel("blobs searchable, %")
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def draw_contact_sheet(pictures: Sequence[tuple[str, bytes]], *, title: str) -> bytes:
    """Small pictures (name, PNG) side by side with their names; PNG."""
    columns = min(6, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.3, 2.0 * rows + 0.5), dpi=100, layout="constrained")
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        each.axis("off")
    for each, (name, png) in zip(axes.flat, pictures, strict=False):
        each.imshow(Image.open(io.BytesIO(png)).convert("RGBA"))
        each.set_title(_shortened(name.rpartition("/")[2]), fontsize=7)
    figure.suptitle(title, fontsize=10)
    return _png(figure)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2 - 1]}…{name[-_LONGEST_NAME // 2 :]}"


def _view(shapes: Sequence[BaseGeometry]) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees: around the shapes with a margin, the world where there are none."""
    if not shapes:
        return -180.0, -90.0, 180.0, 90.0
    west, south, east, north = unary_union([box(*geometry.bounds) for geometry in shapes]).bounds
    margin = max(0.25 * max(east - west, north - south), _SMALLEST_VIEW_DEGREES)
    west, east, south, north = west - margin, east + margin, south - margin, north + margin
    # Twice as wide as high, as the figure is.
    missing = 2 * (north - south) - (east - west)
    if missing > 0:
        west, east = west - missing / 2, east + missing / 2
    return max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0)


def _mark_small(axes: Any, shapes: Sequence[BaseGeometry], *, view_width: float) -> None:
    """A dot where a footprint would be smaller than a few pixels."""
    parts = [part for geometry in shapes for part in getattr(geometry, "geoms", [geometry])]
    points = [part.representative_point() for part in parts if max(*_size(part)) < view_width / 100]
    if points:
        x, y = [point.x for point in points], [point.y for point in points]
        axes.scatter(x, y, s=26, color=_FOOTPRINT, edgecolor="white", zorder=5, clip_on=False)


def _size(geometry: BaseGeometry) -> tuple[float, float]:
    west, south, east, north = geometry.bounds
    return east - west, north - south


def _draw_locator(figure: Figure, plate: Any, view: tuple[float, float, float, float]) -> None:
    """A small map of the world with the view marked on it."""
    west, south, east, north = view
    world: Any = figure.add_axes((0.76, 0.74, 0.23, 0.23), projection=plate)
    world.set_global()
    world.stock_img()
    world.plot([(west + east) / 2], [(south + north) / 2], "s", markersize=6, color=_FOOTPRINT, markeredgecolor="white")


def _bytes_label(size_bytes: int) -> str:
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes // factor} {unit}"
    return f"{size_bytes} B"


def _png(figure: Figure) -> bytes:
    """The figure as a palette PNG: a picture goes into an event-log row, so it has to be small."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    small = io.BytesIO()
    # Median cut, the default, chooses by frequency: the red of a few small dots would turn grey.
    few_colours = (
        Image.fromarray(np.asarray(canvas.buffer_rgba()))
        .convert("RGB")
        .quantize(128, method=Image.Quantize.MAXCOVERAGE)
    )
    few_colours.save(small, format="png", optimize=True)
    return small.getvalue()
