"""A small picture of a raster for people: PNG, with what is not valid left transparent.

Here: from few pixels to a picture. Not here: any claim about values; an item's renders say how to draw them truly.
"""

import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from geo_assets.sources.cog_rules import Kind

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
