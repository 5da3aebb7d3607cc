"""Names of tables and columns that PostgreSQL takes without quotes, each of its own.

Here: making names safe and unique. Not here: whether a table's name is taken (the ledger and the database know).
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from geo_assets.names import slug
from geo_assets.sources.source import Source

MOST_BYTES = 63
FID = "fid"
GEOMETRY = "geom"
BLOB = "source_blob"
OWN_COLUMNS = (FID, GEOMETRY, BLOB)
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


def safe_name(text: str, *, reserved: Collection[str] = ()) -> str:
    """``text`` in lower case, with _ for all but letters and digits, within 63 bytes of UTF-8.

    What SQL would not take without quotes, a digit in front or a ``reserved`` word, gets a _.
    """
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", text).lower()).strip("_") or "unnamed"
    name = f"_{name}" if name[0].isdigit() else name
    name = f"{name}_" if name in reserved or name in _SYSTEM_COLUMNS else name
    if len(name.encode()) <= MOST_BYTES:
        return name
    return f"{_cut(name, MOST_BYTES - 9)}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def column_names(originals: Iterable[str], *, reserved: Collection[str] = ()) -> dict[str, str]:
    """The column of each attribute, by the attribute's own name; no two alike, none that the table has itself."""
    taken = set(OWN_COLUMNS)
    columns: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for original in originals:
        name = base = safe_name(original, reserved=reserved)
        while name in taken:
            numbers[base] += 1
            ending = f"_{numbers[base] + 1}"
            name = f"{_cut(base, MOST_BYTES - len(ending))}{ending}"
        taken.add(name)
        columns[original] = name
    return columns


def table_names(source: Source, blob_name: str, layers: Iterable[str]) -> Mapping[str, str]:
    """The table of each of a file's ``layers``; where the rule's name says nothing of the layer, several get its name.

    A template of letters alone is one table for all files, as append and upsert want it.
    """
    assert source.tables is not None
    path, template, layers = blob_name.removeprefix(source.prefix), source.tables.name, list(layers)
    if len(layers) > 1 and "{layer}" not in template:
        template += "_{layer}"
    stem = PurePosixPath(path).name.partition(".")[0]
    fields = {"source": source.name, "stem": stem, "slug": slug(path)}
    names: dict[str, str] = {}
    for layer in layers:
        name = safe_name(template.format(**fields, layer=layer))
        if name in names.values():
            name = safe_name(f"{name}_{hashlib.sha256(layer.encode()).hexdigest()[:8]}")
        names[layer] = name
    return names


def _cut(name: str, most: int) -> str:
    return name.encode()[:most].decode("utf-8", "ignore")
