"""A raster seen otherwise without touching it: a VRT with another CRS, place, nodata value, bands or extent.

Here: editing the XML that GDAL wrote of the raster. Not here: writing and opening it (`geo_assets.resources`).
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

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
