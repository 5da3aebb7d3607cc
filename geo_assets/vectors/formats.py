"""What a vector file is by its first bytes, not by its name, and whether it is complete and safe before GDAL opens it.

Here: the formats that are read, and how each shows (binary ones by their magic, XML by its root element, JSON by the
`type` of its root), and what a file is instead, where it is none of ours; which files of a shapefile belong together,
and whether they do, for GDAL reads what is there of a cut one and says nothing; whether all pages of a GeoPackage are
there, and whether SQLite would run more than tables. Not here: reading features.

Sources: ESRI Shapefile Technical Description, 1998; dBASE III; SQLite's "Database File Format" and "Defense Against The
Dark Arts".
"""

import json
import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal
from urllib.parse import quote
from xml.parsers import expat

from geo_assets.vectors.errors import (
    EmptyFile,
    MissingDbf,
    MissingShx,
    PartsDisagree,
    PlaceholderFile,
    TruncatedVector,
    UnknownFormat,
    UnreadableVector,
    UnsafeDatabase,
    WebPage,
)

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


def check_shapefile(path: Path) -> int:
    """How many records the shapefile has by its index.

    Raises MissingShx, MissingDbf, TruncatedVector or PartsDisagree.
    """
    beside = {each.suffix.lower(): each for each in path.parent.iterdir() if each.stem == path.stem}
    if ".shx" not in beside:
        raise MissingShx(f"{path.stem}.shx is not beside {path.name}.")
    if ".dbf" not in beside:
        raise MissingDbf(f"{path.stem}.dbf is not beside {path.name}.")
    for each in (path, beside[".shx"]):
        _check_length(each)
    records = (_main_length(beside[".shx"]) - 100) // 8
    attributes = _check_table(beside[".dbf"])
    if records != attributes:
        raise PartsDisagree(f"{path.stem}.shx has {records:,} records, {path.stem}.dbf {attributes:,}.")
    return records


def _main_length(path: Path) -> int:
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100:
        raise TruncatedVector(f"{path.name} has {len(header)} bytes, less than its header.")
    (words,) = struct.unpack(">i", header[24:28])
    return int(words) * 2


def _check_length(path: Path) -> None:
    said, there = _main_length(path), path.stat().st_size
    if there < said:
        raise TruncatedVector(f"{path.name} has {there:,} bytes; its header says {said:,}.")


def _check_table(path: Path) -> int:
    with path.open("rb") as file:
        header = file.read(32)
    if len(header) < 32:
        raise TruncatedVector(f"{path.name} has {len(header)} bytes, less than its header.")
    records, header_bytes, record_bytes = struct.unpack("<IHH", header[4:12])
    said, there = header_bytes + records * record_bytes, path.stat().st_size
    if there < said:
        raise TruncatedVector(f"{path.name} has {there:,} bytes; its header says {said:,}.")
    return int(records)


_MODULES = frozenset(("rtree", "rtree_i32", "geopoly", "fts3", "fts4", "fts5"))
"""Virtual tables that keep to their own database: spatial indexes and full text."""
_NAME = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|\w+)"""
_STATEMENT = re.compile(
    rf"CREATE\s+VIRTUAL\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:{_NAME}\s*\.\s*)?{_NAME}\s*\bUSING\s+[\"'`\[]?(\w+)",
    re.IGNORECASE,
)
_VIRTUAL = "SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE%VIRTUAL%TABLE%USING%'"
"""Of whatever type the row says it is: SQLite goes by the statement."""


def check_geopackage(path: Path) -> None:
    """Raise TruncatedVector where pages are missing, UnsafeDatabase where a virtual table reads something else.

    Triggers are never fired, since nothing is written; views are run by SQLite without trust in the schema.
    """
    _check_pages(path)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = 0")
            # Statements that this SQLite does not take are read as well: GDAL's may be newer.
            connection.execute("PRAGMA writable_schema = 1")
            virtual = connection.execute(_VIRTUAL).fetchmany(10_000)
    except sqlite3.Error:
        return  # GDAL's own SQLite says what is wrong with it
    for name, statement in virtual:
        found = _STATEMENT.match(str(statement))
        if found is None or found.group(1).lower() not in _MODULES:
            module = found.group(1) if found else "an unknown module"
            raise UnsafeDatabase(f"Table {str(name)[:60]!r} of the GeoPackage is a virtual table of {module[:60]}.")


def _check_pages(path: Path) -> None:
    """SQLite reads a cut database until it misses a page; the header knows how many there should be."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100:
        raise TruncatedVector(f"The GeoPackage has {len(header)} bytes, less than its header.")
    (page,) = struct.unpack(">H", header[16:18])
    page = 65_536 if page == 1 else page
    changed, pages, valid_for = (
        struct.unpack(">I", header[24:28]) + struct.unpack(">I", header[28:32]) + struct.unpack(">I", header[92:96])
    )
    there = path.stat().st_size
    if changed == valid_for and there < page * pages:
        raise TruncatedVector(f"The GeoPackage has {there:,} bytes; its header says {page * pages:,}.")
