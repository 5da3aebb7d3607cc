"""A raster as it is seen: with other facts, by a VRT over it, and as a small picture for people.

Here: editing the XML that GDAL wrote of the raster, for another CRS, place, nodata value, bands or extent, without
touching the raster; from few pixels to a PNG with what is not valid left transparent. Not here: writing and opening
either (`geo_assets.cogs.writer`), and any claim about values: an item's renders say how to draw them truly.
"""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from geo_assets.sources.cog_rules import Kind

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Alterations:
    """What is different from the raster itself; None and () where nothing is.

    ``transform`` are the coefficients (a, b, c, d, e, f) of the whole raster; ``window`` is (column, row, width,
    height) in its pixels.
    """

    crs_wkt: str | None = None
    transform: Transform | None = None
    nodata: float | None = None
    bands: Sequence[int] = ()
    window: tuple[int, int, int, int] | None = None

    def __bool__(self) -> bool:
        changes = (self.crs_wkt, self.transform, self.nodata, self.window)
        return any(each is not None for each in changes) or bool(self.bands)


def alter(vrt: bytes, alterations: Alterations, *, transform: Transform | None) -> bytes:
    """The VRT with these alterations; ``transform`` is the raster's own."""
    # Written by GDAL a moment ago, from a raster and not from anybody's XML.
    root = ElementTree.fromstring(vrt)
    if alterations.crs_wkt is not None:
        _replace(root, "SRS", alterations.crs_wkt)
    placed = alterations.transform or transform
    if alterations.window is not None:
        column, row, width, height = alterations.window
        root.set("rasterXSize", str(width))
        root.set("rasterYSize", str(height))
        _shift(root, alterations.window)
        if placed is not None:
            a, b, c, d, e, f = placed
            placed = (a, b, c + column * a + row * b, d, e, f + column * d + row * e)
    if placed is not None and (alterations.transform or alterations.window):
        a, b, c, d, e, f = placed
        _replace(root, "GeoTransform", ", ".join(repr(float(each)) for each in (c, a, b, f, d, e)))
    bands = root.findall("VRTRasterBand")
    if alterations.bands:
        for band in bands:
            root.remove(band)
        for number, wanted in enumerate(alterations.bands, start=1):
            band = bands[wanted - 1]
            band.set("band", str(number))
            root.append(band)
        bands = root.findall("VRTRasterBand")
    if alterations.nodata is not None:
        for band in bands:
            if band.find("NoDataValue") is None:
                _replace(band, "NoDataValue", repr(alterations.nodata))
    return ElementTree.tostring(root)


def _replace(parent: ElementTree.Element, name: str, text: str) -> None:
    element = parent.find(name)
    if element is None:
        element = ElementTree.Element(name)
        parent.insert(0, element)
    element.text = text
    element.attrib.clear()


def _shift(root: ElementTree.Element, window: tuple[int, int, int, int]) -> None:
    """Let every source show the window only."""
    column, row, width, height = (str(each) for each in window)
    for kind, x, y in (("SrcRect", column, row), ("DstRect", "0", "0")):
        for rectangle in root.iter(kind):
            rectangle.attrib.update(xOff=x, yOff=y, xSize=width, ySize=height)


_STRETCH_PERCENT = (2, 98)
_COLOURS = ("red", "green", "blue")
_MAP_OF_KIND = {"elevation": "terrain", "categorical": "tab20"}
_GREY = "gray"


def draw_thumbnail(cog: Any, *, kind: Kind, side: int) -> bytes:
    """The open raster with ``side`` pixels on its longer side, PNG: red, green and blue, else its first band.

    What is no picture already is stretched from the 2nd to the 98th percentile of the pixels shown.
    """
    scale = min(1.0, side / max(cog.width, cog.height))
    shape = (max(1, round(cog.height * scale)), max(1, round(cog.width * scale)))
    colours = [each.name for each in cog.colorinterp]
    numbers = [colours.index(name) + 1 for name in _COLOURS] if all(name in colours for name in _COLOURS) else [1]
    if kind == "multispectral" and len(numbers) == 1 and cog.count >= 3:
        numbers = [3, 2, 1]
    read: Any = cog.read(numbers, out_shape=(len(numbers), *shape), masked=True)
    valid: Any = ~np.ma.getmaskarray(read).any(axis=0)
    if "alpha" in colours:
        valid &= cog.read(colours.index("alpha") + 1, out_shape=shape) > 0
    values = np.abs(read.data) if read.dtype.kind == "c" else read.data
    if values.dtype.kind == "f":
        valid &= np.isfinite(values).all(axis=0)
    palette = _palette(cog) if numbers == [1] else None
    if palette is not None:
        rgb = palette[np.clip(values[0], 0, len(palette) - 1).astype(int)]
    elif len(numbers) == 3:
        planes = values if values.dtype == np.uint8 else np.stack([_stretched(plane, valid) for plane in values])
        rgb = np.moveaxis(planes, 0, -1).astype(np.uint8)
    else:
        rgb = _mapped(values[0], valid, kind)
    alpha = np.where(valid, 255, 0).astype(np.uint8)[..., None]
    picture = io.BytesIO()
    Image.fromarray(np.concatenate([rgb, alpha], axis=-1)).save(picture, format="png")
    return picture.getvalue()


def _palette(cog: Any) -> NDArray[np.uint8] | None:
    if cog.colorinterp[0].name != "palette":
        return None
    try:
        colours: dict[int, tuple[int, int, int, int]] = cog.colormap(1)
    except ValueError:  # it says that it has a palette, and has none
        return None
    table = np.zeros((max(colours) + 1, 3), np.uint8)
    for value, colour in colours.items():
        table[value] = colour[:3]
    return table


def _mapped(values: NDArray[Any], valid: NDArray[np.bool_], kind: Kind) -> NDArray[np.uint8]:
    if kind == "categorical":
        _, classes = np.unique(values, return_inverse=True)
        colours = colormaps[_MAP_OF_KIND[kind]](classes.reshape(values.shape) % 20)
    else:
        colours = colormaps[_MAP_OF_KIND.get(kind, _GREY)](_stretched(values, valid) / 255.0)
    mapped: NDArray[np.uint8] = (colours[..., :3] * 255).astype(np.uint8)
    return mapped


def _stretched(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """0 to 255; all one grey where the valid pixels have one value."""
    shown = values[valid].astype(np.float64)
    low, high = np.percentile(shown, _STRETCH_PERCENT) if shown.size else (0.0, 0.0)
    if high <= low:
        low, high = (shown.min(), shown.max()) if shown.size else (0.0, 0.0)
    if high <= low:
        return np.full(values.shape, 128.0)
    safe = np.where(valid, values, low).astype(np.float64)
    stretched: NDArray[np.float64] = np.clip((safe - low) / (high - low), 0, 1) * 255
    return stretched
