"""The JSON documents that come with scenes: the few values that a source's rules ask for.

Here: parsing a document of bounded size, and values at JSON pointers (RFC 6901). Not here: fetching it, and what its
values mean to the item (`scene`, `acquisition`).
"""

import json
import math
from collections.abc import Iterable
from typing import Any

import jsonpointer

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.models import BlobRef
from geo_assets.raster.tags import clean_text

MAX_DOCUMENT_BYTES = 1_000_000


def check_document_size(blob: BlobRef) -> None:
    """Raise TooLarge where the blob is larger than a document may be."""
    if blob.size_bytes > MAX_DOCUMENT_BYTES:
        raise TooLarge(
            f"A JSON member of a scene has at most {MAX_DOCUMENT_BYTES:,} bytes; this one has {blob.size_bytes:,}.",
            remedy="Ask for no value of it in the source's rules.",
        )


def read_document(content: bytes, pointers: Iterable[str]) -> dict[str, Any]:
    """The text, numbers and booleans at ``pointers``; what is absent, null, a list or an object is left out.

    Raises Corrupt where ``content`` is no JSON.
    """
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"It is no JSON document: {clean_text(str(error))}.") from error
    values: dict[str, Any] = {}
    for pointer in pointers:
        value = jsonpointer.resolve_pointer(document, pointer, None)
        if isinstance(value, str):
            values[pointer] = clean_text(value)
        elif isinstance(value, int | float) and math.isfinite(value):
            values[pointer] = value
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
