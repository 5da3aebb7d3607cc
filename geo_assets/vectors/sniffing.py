"""What a file is, by its first bytes and not by its name: and what it is instead, where it is none of ours.

Here: the formats that are read, and how each shows: binary ones by their magic, XML by its root element, JSON by the
`type` of its root. Not here: opening files.
"""

import json
import re
from collections.abc import Iterator
from typing import Literal
from xml.parsers import expat

from geo_assets.vectors.errors import EmptyFile, PlaceholderFile, UnknownFormat, UnreadableVector, WebPage

VectorFormat = Literal[
    "gpkg", "shapefile", "flatgeobuf", "parquet", "geojson", "geojsonseq", "kml", "csv", "filegdb", "zip"
]

HEAD_BYTES = 64 * 1024
"""Comments, a CRS and a name may stand before what tells."""
_MAGIC: tuple[tuple[bytes, VectorFormat], ...] = (
    (b"SQLite format 3\0", "gpkg"),
    (b"PAR1", "parquet"),
    (b"fgb\x03", "flatgeobuf"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x00\x00\x27\x0a", "shapefile"),
)
_OTHER: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"\x89PNG", "a PNG"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x00\x01\x00\x00Standard", "an Access database"),
)
_DELIMITED = (".csv", ".tsv", ".txt")
_SEQUENCES = (".geojsonl", ".geojsons", ".ndgeojson", ".ndjson", ".jsonl", ".geojsonseq")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_JSON_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"|["{}\[\]:,]', re.DOTALL)
"""The quote alone is that of a string which does not end."""
_GEOMETRIES = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
)
_ESRI_KEYS = frozenset(
    ("geometryType", "spatialReference", "displayFieldName", "fieldAliases", "objectIdFieldName", "hasZ", "hasM",
     "globalIdFieldName", "attributes", "rings", "paths", "curveRings", "curvePaths", "layerDefinition", "featureSet")
)  # fmt: skip
"""GeoJSON has none of them in objects without a type."""
_ESRI_LEVELS = ("features", "geometry", "layers")
_MOST_LEVELS = 3


def sniff(head: bytes, name: str) -> VectorFormat:
    """The format of a file that begins with ``head``; ``name`` decides where text could be several.

    Raises EmptyFile, PlaceholderFile, WebPage, UnknownFormat, or UnreadableVector for XML with entities of its own.
    """
    if not head:
        raise EmptyFile("The file has no bytes.")
    if head.startswith(b"version https://git-lfs"):
        raise PlaceholderFile("The file is a Git LFS pointer.")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    for magic, what in _OTHER:
        if head.startswith(magic):
            raise UnknownFormat(f"The file is {what}.")
    return _sniff_text(head, name)


def _sniff_text(head: bytes, name: str) -> VectorFormat:
    lower = name.lower()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"\x1e":
        return "geojsonseq"
    if text[:1] == b"{":
        return _sniff_json(text.decode("utf-8", "replace"), sequence=lower.endswith(_SEQUENCES))
    if text[:1] == b"[":
        raise UnknownFormat("The file is a JSON array; GeoJSON is an object.")
    if text[:1024].lower().startswith((b"<!doctype html", b"<html")):
        raise WebPage("The file is an HTML page.")
    if text[:1] == b"<" or head.startswith(_UTF16):
        root = _xml_root(head if head.startswith(_UTF16) else text)
        if root is not None and root.lower() == "html":
            raise WebPage("The file is an HTML page.")
        if root == "kml":
            return "kml"
        if root is not None:
            raise UnknownFormat(f"The file is XML with the root element {root[:60]!r}, which is not KML.")
    if lower.endswith(_DELIMITED) and b"\0" not in head:
        return "csv"
    raise UnknownFormat(f"The file is of no vector format that is read: it begins with {head[:12]!r}.")


def _sniff_json(text: str, *, sequence: bool) -> VectorFormat:
    """GeoJSON, or a sequence of it, by what is at the root; if `type` comes late, GDAL's own driver decides."""
    keys: set[str] = set()
    for key, value, _ in _root_members(text):
        keys.add(key)
        if key != "type" or value is None:
            continue
        if value == "FeatureCollection":
            return "geojson"
        if value == "Feature" or value in _GEOMETRIES:
            return "geojsonseq" if sequence else "geojson"
        if value == "Topology":
            raise UnknownFormat("The file is TopoJSON.")
        raise UnknownFormat(f"The file is JSON of the type {value[:60]!r}, which is not GeoJSON.")
    if _is_esri(text):
        raise UnknownFormat(
            "The file is ESRI JSON, as a server of ArcGIS answers with f=json: it has no GeoJSON `type`.",
            remedy="Ask the server for f=geojson, or convert the file: `ogr2ogr -f GPKG out.gpkg in.json`.",
        )
    if "error" in keys and "features" not in keys:
        raise UnknownFormat(
            "The file is an error that a server answered with, in JSON.",
            remedy="Download the file again from its origin, and check it before uploading.",
        )
    return "geojsonseq" if sequence else "geojson"


def _is_esri(text: str, *, level: int = 0) -> bool:
    """Whether an object has no type, but keys of ESRI JSON; or its first feature, layer or geometry does."""
    members = list(_root_members(text))
    keys = {key for key, _, _ in members}
    if "type" in keys:
        return False
    if keys & _ESRI_KEYS or {"x", "y"} <= keys:
        return True
    inner = [text[at:].lstrip("[ \t\r\n") for key, _, at in members if key in _ESRI_LEVELS]
    return level < _MOST_LEVELS and any(each.startswith("{") and _is_esri(each, level=level + 1) for each in inner)


def _root_members(text: str) -> Iterator[tuple[str, str | None, int]]:
    """The members of the root object as far as ``text`` goes: each key, its value if that is a string, and its place.

    Numbers and literals have the place where they end.
    """
    depth, key, in_value = 0, None, False
    for match in _JSON_TOKENS.finditer(text):
        token = match.group()
        if token == '"':
            return
        if token in "{[":
            if depth == 1 and key is not None:
                yield key, None, match.start()
                key = None
            depth += 1
        elif token in "}]":
            depth -= 1
            if depth == 0:
                if in_value and key is not None:
                    yield key, None, match.start()
                return
        elif depth == 1 and token == ":":
            in_value = True
        elif depth == 1 and token == ",":
            if in_value and key is not None:
                yield key, None, match.start()
            key, in_value = None, False
        elif depth == 1 and token.startswith('"'):
            if in_value and key is not None:
                yield key, _unquoted(token), match.start()
                key = None
            elif not in_value:
                key = _unquoted(token)


def _unquoted(token: str) -> str:
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return token[1:-1]


class _RootFound(Exception):
    """Ends the parsing of XML where its root element begins."""


def _xml_root(head: bytes) -> str | None:
    """The name of the root element without its prefix; None where the bytes are no XML, or it comes later.

    Nothing but the prolog is parsed. Raises UnreadableVector where that declares anything: entities are not read.
    """
    root: str | None = None

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal root
        root = name.rpartition(":")[2]
        raise _RootFound

    def doctype(name: str, _system: str | None, _public: str | None, has_internal_subset: bool) -> None:
        if has_internal_subset:
            raise UnreadableVector(
                f"The DOCTYPE of its root element {name[:60]!r} declares entities or the like, which are not read.",
                remedy="Write the file without a DOCTYPE; KML has none.",
            )

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(head, False)
    except _RootFound:
        return root
    except (expat.ExpatError, ValueError, LookupError):
        return None
    return None
