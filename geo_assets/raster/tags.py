"""GDAL metadata as plain JSON-safe text.

Here: which domains count, and how hostile or careless text is made storable. Not here: what a tag means.
"""

import re
from typing import Any

MAX_VALUE_BYTES = 4096
MAX_TAGS_PER_DOMAIN = 1000

_MADE_UP_BY_GDAL = frozenset({"DERIVED_SUBDATASETS", "SUBDATASETS"})
"""Domains that hold no facts of the file but names under which GDAL could open parts of it."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(value: str) -> str:
    """``value`` without NUL and lone surrogates, which PostgreSQL's jsonb refuses, cut to 4 KiB of UTF-8."""
    if value.isascii() and "\0" not in value:  # as nearly every value is
        return value[:MAX_VALUE_BYTES]
    clean = _UNSTORABLE.sub("", value)
    return clean.encode()[:MAX_VALUE_BYTES].decode(errors="ignore")


def read_tags(dataset: Any) -> dict[str, dict[str, str]]:
    """The dataset's metadata by domain, "" being the default one.

    A value that is not UTF-8 is left out, as rasterio leaves it out.
    """
    tags = {}
    for domain in ("", *dataset.tag_namespaces()):
        if domain in _MADE_UP_BY_GDAL:
            continue
        pairs = list(dataset.tags(ns=domain or None).items())[:MAX_TAGS_PER_DOMAIN]
        if pairs:
            tags[clean_text(domain)] = {clean_text(name): clean_text(value) for name, value in pairs}
    return tags
