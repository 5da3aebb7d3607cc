"""Names made of other names: ids of items of blobs' names, names of tables and columns of layers' and attributes'.

Here: templates' fields, the slug, and making names safe and unique. Not here: refusing two blobs with one id, or a
table whose name is taken (the ledger and the database know).
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from geo_assets.sources.source import Source

MAX_LENGTH = 200
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*(/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*)*\.tif")
_EXTENSION = re.compile(r"\.tiff?$", re.IGNORECASE)
_RESERVED = re.compile(r"[^A-Za-z0-9._~-]+")
MOST_BYTES = 63
FID = "fid"
GEOMETRY = "geom"
BLOB = "source_blob"
OWN_COLUMNS = (FID, GEOMETRY, BLOB)
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


def item_id(template: str, *, blob_name: str, prefix: str) -> str:
    """The id ``template`` gives the blob: at most 200 of RFC 3986's unreserved characters.

    {slug} is readable and never the same for two paths; {stem} is the file name without its extension; {path}
    is the whole path with ``--`` for ``/``. All take the path below ``prefix``.
    """
    path = blob_name.removeprefix(prefix)
    text = template.format(slug=slug(path), stem=PurePosixPath(path).stem, path=path.strip("/").replace("/", "--"))
    readable = _RESERVED.sub("-", _ascii(text)).lstrip(".-")
    if readable and len(readable) <= MAX_LENGTH:
        return readable
    return _with_digest(readable, path)


def slug(path: str) -> str:
    """A readable name for ``path`` that no other path has.

    A plain path (segments of letters, digits and _, with single . or - inside, ending in .tif) stays as it is,
    without .tif and with ``--`` for ``/``. Any other gets ``~`` and ten hex digits of its SHA-256, and ``~`` is
    in no plain path.
    """
    plain = path.removesuffix(".tif").replace("/", "--")
    if _PLAIN_PATH.fullmatch(path) and len(plain) <= MAX_LENGTH:
        return plain
    words = _EXTENSION.sub("", path).split("/")
    return _with_digest("--".join(re.sub(r"[^A-Za-z0-9._]+", "-", _ascii(word)).strip("-.") for word in words), path)


def _with_digest(readable: str, path: str) -> str:
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{readable[: MAX_LENGTH - len(digest) - 1].lstrip('.-')}~{digest}"


def _ascii(text: str) -> str:
    """Without accents; characters ASCII has no likeness of become -."""
    folded = unicodedata.normalize("NFKD", text)
    return "".join(c if c.isascii() else "-" for c in folded if not unicodedata.combining(c))


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
