"""The id of an item from the name of its blob.

Here: the template's fields and the slug. Not here: refusing two blobs with one id (the ledger knows all blobs).
"""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

MAX_LENGTH = 200
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*(/[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*)*\.tif")
_EXTENSION = re.compile(r"\.tiff?$", re.IGNORECASE)
_RESERVED = re.compile(r"[^A-Za-z0-9._~-]+")


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
