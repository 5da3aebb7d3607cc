"""GeoPackages before GDAL opens them: whether all pages are there, and whether SQLite would run more than tables.

Here: the header and the schema. Not here: reading features.

Source: SQLite's "Database File Format" and "Defense Against The Dark Arts".
"""

import re
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from geo_assets.vectors.errors import TruncatedVector, UnsafeDatabase

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
