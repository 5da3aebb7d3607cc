"""Coordinate reference systems that a stranger's file states: those that PROJ can know without reading other files.

Here: PROJ's and PostGIS's door, since both are handed what stands here. A PROJ string or a bound CRS may name a grid or
an init file by its path, which PROJ would open. Not here: CRSs of sources.yaml.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pyproj

MOST_BYTES = 1024**2
_AUTHORITY = re.compile(r"(urn:ogc:def:crs:[A-Za-z0-9:._-]*|[A-Za-z0-9_]+:[A-Za-z0-9._-]+)", re.ASCII)
_WKT = re.compile(r"[A-Za-z_]+[0-9]*[A-Za-z_]*\s*[\[(]", re.ASCII)
_GRID = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9_.-]*(,@?[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
"""Names of grids that PROJ looks up in its own folder."""


def known_crs(text: str, *, assume_crs: str | None) -> pyproj.CRS:
    """The CRS of ``text``, be it stated by a file or the source's own. Raises ValueError as `stated_crs` does."""
    return pyproj.CRS.from_user_input(text) if text == assume_crs else stated_crs(text)


def stated_crs(text: str) -> pyproj.CRS:
    """The CRS of ``text``: an authority's code, WKT or PROJJSON. Raises ValueError for all else and for paths."""
    text = text.strip()
    if len(text) > MOST_BYTES:
        raise ValueError(f"its definition has {len(text):,} characters")
    if _AUTHORITY.fullmatch(text) is None and _WKT.match(text) is None and not text.startswith("{"):
        raise ValueError("it is no code of an authority, WKT or PROJJSON")
    if _AUTHORITY.fullmatch(text) is None:
        _check(text)
    try:
        crs = pyproj.CRS.from_user_input(text)
        about = json.loads(crs.to_json())
    except (pyproj.exceptions.CRSError, RecursionError) as error:
        raise ValueError(str(error)[:200] or type(error).__name__) from error
    for value in _strings(about):
        _check(value)
    for value in _parameter_files(about):
        if _GRID.fullmatch(value) is None:
            raise ValueError(f"it names the file {value[:100]!r}")
    return crs


def _check(text: str) -> None:
    """Refuse a PROJ string, inside of a name or an extension, with the path of a file."""
    for match in re.finditer(r"(grids|catalog|init|file|model|geoids?)\s*=\s*([^\s\"]*)", text, re.IGNORECASE):
        if _GRID.fullmatch(match.group(2)) is None and not re.fullmatch(r"[A-Za-z]+:[0-9]+", match.group(2)):
            raise ValueError(f"it names the file {match.group(2)[:100]!r}")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _parameter_files(value: Any) -> Iterator[str]:
    """The parameters of operations whose values are names of files."""
    if isinstance(value, dict):
        for parameter in value.get("parameters") or ():
            if isinstance(parameter, dict) and isinstance(parameter.get("value"), str):
                yield parameter["value"]
        for each in value.values():
            yield from _parameter_files(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parameter_files(each)
