"""A VRT as a tree of the few XML elements that are read, and the files it names.

Here: parsing without entities, refusing every element that could run code or name a file in another way, and resolving
the paths of its sources. Not here: what the elements say of the raster (`vrt`).

Source: GDAL's VRT driver. GDAL never opens the document here, but readers of the catalogue may: so what is not known to
be harmless is refused.
"""

import posixpath
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from geo_assets.errors import Corrupt, TooLarge, UnsupportedFormat
from geo_assets.raster.tags import clean_text

MOST_DEPTH = 32
MOST_MEMBERS = 1000
_REMEDY = "Exclude it in sources.yaml, or convert it to GeoTIFF."

_OF_DATASET = frozenset({"VRTDataset", "SRS", "GeoTransform", "GCPList", "GCP", "Metadata", "MDI", "OverviewList"})
_OF_BANDS = frozenset({
    "VRTRasterBand", "Description", "UnitType", "Offset", "Scale", "NoDataValue", "HideNoDataValue", "ColorInterp",
    "CategoryNames", "Category", "ColorTable", "Entry", "MaskBand", "Overview",
    "Histograms", "HistItem", "HistMin", "HistMax", "BucketCount", "IncludeOutOfRange", "Approximate", "HistCounts",
    "GDALRasterAttributeTable", "FieldDefn", "Name", "Type", "Usage", "Row", "F",
})  # fmt: skip
_OF_SOURCES = frozenset({
    "SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource", "NoDataFromMaskSource",
    "SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect", "NODATA", "UseMaskBand",
    "ScaleOffset", "ScaleRatio", "SrcMin", "SrcMax", "DstMin", "DstMax", "Exponent", "Clamp", "LUT",
    "ColorTableComponent", "Kernel", "Size", "Coefs", "RemapValues", "MaskValueThreshold",
})  # fmt: skip
_HARMLESS = _OF_DATASET | _OF_BANDS | _OF_SOURCES
_NAMING_DOMAINS = frozenset({"GEOLOCATION", "OVERVIEWS", "SUBDATASETS", "DERIVED_SUBDATASETS"})
_SUBCLASSES = frozenset({"", "VRTSourcedRasterBand"})


def parse_vrt(content: bytes) -> Element:
    """The document's root, every element of which is harmless. Raises Corrupt, TooLarge or UnsupportedFormat."""
    builder, depth = TreeBuilder(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise TooLarge(f"Its XML is nested deeper than {MOST_DEPTH} elements.")
        _check_harmless(tag, attributes)
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def doctype(*_: Any) -> None:
        raise UnsupportedFormat(
            "The VRT declares a document type, through which XML names other files.", remedy=_REMEDY
        )

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, doctype
    try:
        parser.Parse(content, True)
        root = builder.close()
    except (expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        raise Corrupt(f"The VRT is no XML: {clean_text(str(error))[:100]}.") from error
    if root.tag != "VRTDataset":
        raise Corrupt(f"The VRT's root is {clean_text(root.tag)[:40]!r}.")
    return root


def member_names(root: Element, *, name: str, prefix: str) -> tuple[str, ...]:
    """The blobs that the VRT ``name`` takes its pixels from, each once, all of them below ``prefix``.

    Raises UnsupportedFormat where a path is not relative to the VRT or leaves the source, TooLarge where it has more
    than `MOST_MEMBERS`.
    """
    found: dict[str, None] = {}
    for element in root.iter("SourceFilename"):
        found[_resolve(element, name=name, prefix=prefix)] = None
        if len(found) > MOST_MEMBERS:
            raise TooLarge(
                f"The VRT takes its pixels from more than {MOST_MEMBERS} files.", remedy="Split it into smaller ones."
            )
    return tuple(found)


def _check_harmless(tag: str, attributes: dict[str, str]) -> None:
    if tag not in _HARMLESS:
        what = f"the element {clean_text(tag)[:60]!r}"
    elif (subclass := attributes.get("subClass", "")) not in _SUBCLASSES:
        what = f"subClass {clean_text(subclass)[:60]!r}"
    elif tag == "Metadata" and (domain := attributes.get("domain", "")).upper() in _NAMING_DOMAINS:
        what = f"the metadata domain {clean_text(domain)[:60]!r}"
    else:
        return
    raise UnsupportedFormat(f"The VRT has {what}, which can run code or name other files.", remedy=_REMEDY)


def _resolve(element: Element, *, name: str, prefix: str) -> str:
    text = (element.text or "").strip()
    shown = clean_text(text)[:200]
    if element.get("relativeToVRT") != "1":
        raise UnsupportedFormat(f"The VRT's source {shown!r} is not said to be relative to it.", remedy=_REMEDY)
    # Colons, backslashes, braces and angle brackets are how GDAL spells drivers, drives, connections and inline XML.
    if not text or text.startswith(("/", "~")) or any(c in ':\\<>{}|"' or ord(c) < 32 for c in text):
        raise UnsupportedFormat(f"The VRT's source {shown!r} is no relative path.", remedy=_REMEDY)
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(name), text))
    if resolved.startswith(("../", "/")) or resolved == ".." or not resolved.startswith(prefix):
        raise UnsupportedFormat(f"The VRT's source {shown!r} lies outside the source.", remedy=_REMEDY)
    if resolved.lower().endswith(".vrt"):
        raise UnsupportedFormat(f"The VRT's source {shown!r} is a VRT itself, which is not followed.", remedy=_REMEDY)
    return resolved
