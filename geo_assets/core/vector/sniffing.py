"""What a file is, by its first bytes and not by its name: and what it is instead, where it is none of ours.

Here: the formats that are read and how each shows. Not here: opening files.
"""

from typing import Literal

from geo_assets.vector_errors import EmptyFile, PlaceholderFile, UnknownFormat, WebPage

VectorFormat = Literal["gpkg", "shapefile", "flatgeobuf", "parquet", "geojson", "geojsonseq", "kml", "csv", "zip"]

HEAD_BYTES = 4096
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


def sniff(head: bytes, name: str) -> VectorFormat:
    """The format of a file that begins with ``head``; ``name`` decides where text could be several.

    Raises EmptyFile, PlaceholderFile, WebPage or UnknownFormat.
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
    if text[:1] == b"\x1e" or (text[:1] == b"{" and lower.endswith(_SEQUENCES)):
        return "geojsonseq"
    if text[:1] in (b"{", b"["):
        return "geojson"
    start = text[:1024].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise WebPage("The file is an HTML page.")
    if b"<kml" in start:
        return "kml"
    if lower.endswith(_DELIMITED) and b"\0" not in head:
        return "csv"
    raise UnknownFormat(f"The file is of no vector format that is read: it begins with {head[:12]!r}.")
