"""How a tiler may draw an item by default: STAC's render extension.

Here: one rendering, of what is a picture already or by statistics that were read. Not here: reading them
(`statistics`), and any rendering of bands whose values nobody has looked at.
"""

from typing import Any

from geo_assets.models import BandMetadata, RasterMetadata

DEFAULT_RENDER = "default"
_COLOURS = ("red", "green", "blue")


def build_renders(metadata: RasterMetadata, *, asset: str) -> dict[str, dict[str, Any]]:
    """``renders`` with one entry, or {} where the values of the bands it would show are not known.

    Red, green and blue by the file's own word are shown as such, 8-bit ones as they are; otherwise the first band in
    shades of grey. What is no picture yet is stretched from the least to the greatest value that was read
    (``geo_assets:statistics_source`` says where), colours all alike, so that their balance stays.
    A band of palette colours needs no stretching and gets no rendering.
    """
    colours = [band.color_interpretation for band in metadata.bands]
    is_coloured = all(colours.count(colour) == 1 for colour in _COLOURS)
    numbers = [colours.index(colour) + 1 for colour in _COLOURS] if is_coloured else [1]
    shown = [metadata.bands[number - 1] for number in numbers]
    render: dict[str, Any] = {"assets": [asset], "bidx": numbers}
    if not (is_coloured and all(band.data_type == "uint8" for band in shown)):
        if (stretch := _stretch(shown)) is None:
            return {}
        render["rescale"] = [stretch for _ in shown]
    nodata = shown[0].nodata
    if nodata is not None and all(band.nodata == nodata for band in shown):
        render["nodata"] = nodata
    return {DEFAULT_RENDER: render}


def _stretch(bands: list[BandMetadata]) -> list[float] | None:
    """[least, greatest] value of all the bands, None where not all are known or there is nothing between them."""
    if any(band.color_interpretation == "palette" for band in bands):
        return None
    known = [band.statistics for band in bands if band.statistics is not None]
    least = [each.minimum for each in known if each.minimum is not None]
    greatest = [each.maximum for each in known if each.maximum is not None]
    if not len(bands) == len(least) == len(greatest) or min(least) >= max(greatest):
        return None
    return [min(least), max(greatest)]
