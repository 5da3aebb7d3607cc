"""A VRT that its source allows: what the document itself states, as raster metadata, and the files it names.

Here: parsing without entities, refusing every element that could run code or name a file in another way, resolving the
paths of its sources, and size, CRS, geotransform, ground control points, bands and tags. Not here: any pixel or header
of those files: GDAL opens neither.

Source: GDAL's VRT driver. GDAL never opens the document here, but readers of the catalogue may: so what is not known to
be harmless is refused.
"""

import math
import posixpath
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import pyproj

from geo_assets.errors import Corrupt, MissingCrs, TooLarge, UnsupportedFormat
from geo_assets.models import BandMetadata, GroundControl, Nodata, RasterMetadata
from geo_assets.raster.bands import of_gdal
from geo_assets.raster.header import MAX_TAGS_PER_DOMAIN, clean_text, crs_code
from geo_assets.raster.sniff import HEAD_BYTES, is_vrt

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


MOST_BYTES = 8 * 1024 * 1024
_BLOCK = 128
_EPSG = re.compile(r"EPSG:\d{1,9}")
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Transform = tuple[float, float, float, float, float, float]


def read_vrt_metadata(
    content: bytes, *, name: str, prefix: str, head: Callable[[str, int], bytes | None]
) -> RasterMetadata:
    """The facts the VRT ``name`` with this ``content`` states, once every file it names is seen to be in the source.

    ``prefix`` is what names in the source start with; ``head`` gives the first bytes of a blob, None where there is
    none. Raises Corrupt, TooLarge, UnsupportedFormat or MissingCrs, and what ``head`` raises.
    """
    root = parse_vrt(content)
    members = member_names(root, name=name, prefix=prefix)
    bands = root.findall("VRTRasterBand")
    if not bands or not members:
        raise UnsupportedFormat("The VRT has no band that takes its pixels from a file.")
    shape = (_size(root, "rasterYSize"), _size(root, "rasterXSize"))
    _check_members(members, head)
    wkt2 = _crs(root.findtext("SRS"), root.find("SRS"), "dataAxisToSRSAxisMapping")
    tags = _tags(root)
    control = _ground_control(root.find("GCPList"))
    return RasterMetadata(
        driver="VRT",
        shape=shape,
        bands=tuple(_band(band) for band in bands),
        crs_code=crs_code(wkt2) if wkt2 else None,
        crs_wkt2=wkt2,
        transform=_transform(root.findtext("GeoTransform")),
        block_shape=(min(_BLOCK, shape[0]), min(_BLOCK, shape[1])),
        area_or_point="Point" if tags.get("", {}).get("AREA_OR_POINT") == "Point" else "Area",
        gcp_count=len(control.points) if control else 0,
        has_rpcs="RPC" in tags,
        ground_control=control,
        tags=tags,
        members=members,
    )


def _check_members(members: tuple[str, ...], head: Callable[[str, int], bytes | None]) -> None:
    for member in members:
        start = head(member, HEAD_BYTES)
        if start is None:
            raise Corrupt(
                f"The VRT takes pixels from {clean_text(member)[:300]}, which is not in the source.",
                remedy="Upload that file, then replay the VRT with `geo-assets quarantine replay`.",
            )
        if is_vrt(start):
            raise UnsupportedFormat(f"The VRT takes pixels from {clean_text(member)[:300]}, which is a VRT itself.")


def _size(root: Element, attribute: str) -> int:
    text = root.get(attribute, "").strip()
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise Corrupt(f"The VRT has no valid {attribute}: {clean_text(text)[:40]!r}.")
    return int(text)


def _number(text: str | None) -> float | None:
    """A number as GDAL reads it, None where it is none."""
    try:
        return float(text.strip()) if text else None
    except ValueError:
        return None


def _transform(text: str | None) -> Transform | None:
    """The geotransform, which GDAL writes as c, a, b, f, d, e; None where there is none, or the identity."""
    if not text:
        return None
    numbers = [_number(word) for word in text.split(",")]
    if len(numbers) != len(_IDENTITY) or any(number is None or not math.isfinite(number) for number in numbers):
        raise Corrupt(f"The VRT's geotransform is no six numbers: {clean_text(text)[:100]!r}.")
    c, a, b, f, d, e = (number for number in numbers if number is not None)
    return None if (a, b, c, d, e, f) == _IDENTITY else (a, b, c, d, e, f)


def _crs(text: str | None, element: Element | None, mapping: str) -> str | None:
    """The CRS as WKT2; x comes first, as GDAL has it unless ``mapping`` says otherwise."""
    text = (text or "").strip()
    if not text or element is None:
        return None
    try:
        crs = pyproj.CRS.from_string(text) if _EPSG.fullmatch(text) else pyproj.CRS.from_wkt(text)
    except pyproj.exceptions.CRSError as error:
        raise MissingCrs(f"PROJ cannot read the VRT's CRS: {clean_text(text)[:60]!r}.") from error
    directions = [axis.direction for axis in crs.axis_info[:2]]
    if element.get(mapping, "").startswith("1,2") and directions == ["north", "east"] and crs.is_geographic:
        raise UnsupportedFormat("The VRT counts latitude as x, which is not read.")
    return crs.to_wkt("WKT2_2019")


def _ground_control(listed: Element | None) -> GroundControl | None:
    if listed is None:
        return None
    points = []
    for point in listed.iter("GCP"):
        pixel, line, x, y = (_number(point.get(key)) for key in ("Pixel", "Line", "X", "Y"))
        if pixel is None or line is None or x is None or y is None or not all(map(math.isfinite, (pixel, line, x, y))):
            raise Corrupt("A ground control point of the VRT lacks a number.")
        points.append((pixel, line, x, y))
        if len(points) > MAX_TAGS_PER_DOMAIN:
            raise TooLarge(f"The VRT has more than {MAX_TAGS_PER_DOMAIN} ground control points.")
    wkt2 = _crs(listed.get("Projection"), listed, "dataAxisToSRSAxisMapping")
    return GroundControl(wkt2, tuple(points)) if points else None


def _tags(root: Element) -> dict[str, dict[str, str]]:
    """The dataset's metadata by domain, as `read_tags` gives them."""
    tags: dict[str, dict[str, str]] = {}
    for metadata in root.findall("Metadata"):
        pairs = {clean_text(item.get("key", "")): clean_text(item.text or "") for item in metadata.findall("MDI")}
        pairs = dict(list(pairs.items())[:MAX_TAGS_PER_DOMAIN])
        if pairs:
            tags.setdefault(clean_text(metadata.get("domain", "")), {}).update(pairs)
    return tags


def _band(band: Element) -> BandMetadata:
    kind = band.get("dataType", "Byte")
    data_type = of_gdal(kind)
    if data_type is None:
        raise UnsupportedFormat(f"A band of the VRT has the type {clean_text(kind)[:40]!r}, which is not read.")
    scale, offset = _number(band.findtext("Scale")), _number(band.findtext("Offset"))
    return BandMetadata(
        data_type=data_type,
        nodata=_nodata(band.findtext("NoDataValue"), data_type),
        name=clean_text(band.findtext("Description", "")) or None,
        color_interpretation=clean_text(band.findtext("ColorInterp", "")).lower() or "undefined",
        unit=clean_text(band.findtext("UnitType", "")) or None,
        scale=None if scale is None or scale == 1 or not math.isfinite(scale) else scale,
        offset=None if not offset or not math.isfinite(offset) else offset,
    )


def _nodata(text: str | None, data_type: str) -> Nodata | None:
    value = _number(text)
    if value is None or text is None:
        return None
    if "int" in data_type and re.fullmatch(r"[+-]?\d{1,20}", text.strip()):
        exact = int(text)
        return exact if -(2**63) <= exact < 2**64 else None
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if "int" in data_type and value.is_integer() and abs(value) < 2**63 else value
