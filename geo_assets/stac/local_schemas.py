"""The JSON schemas of STAC that lie on this machine, by their addresses. Nothing is ever fetched.

Here: core STAC 1.1.0 and GeoJSON as they ship inside pystac, PROJJSON inside pyproj, and a folder that holds each
extension's schema under the path of its address, the host first. Not here: checking documents (`item_schemas`),
filling the folder (`geo_assets.stac.schema_download`).
"""

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import pyproj.datadir

from geo_assets.errors import InvalidConfiguration
from geo_assets.stac.extensions import EXTENSIONS

ITEM_SCHEMA = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
COLLECTION_SCHEMA = "https://schemas.stacspec.org/v1.1.0/collection-spec/json-schema/collection.json"
_META_SCHEMAS = "http://json-schema.org/"  # every validator brings these


def schema_path(folder: Path, url: str) -> Path:
    """Where the schema of ``url`` lies in ``folder``; InvalidConfiguration for an address that leads out of it."""
    parts = urlsplit(url)
    path = folder / parts.netloc / parts.path.lstrip("/")
    if ".." in path.parts or not parts.netloc or not parts.path.strip("/"):
        raise InvalidConfiguration(f"{url} is no address that a schema can be kept under.")
    return path


def is_bundled(url: str) -> bool:
    """Whether the schema of ``url`` comes with a library, so that no folder needs it."""
    return url.startswith(_META_SCHEMAS) or _bundled(url) is not None


def read_schema(url: str, folder: Path | None) -> dict[str, Any] | None:
    """The schema of ``url`` without its fragment; None where it is not on this machine.

    Raises InvalidConfiguration where ``folder`` does not exist, or the file in it is no JSON object.
    """
    url = urldefrag(url).url
    place: Traversable | None = _bundled(url)
    if place is None and folder is not None:
        if not folder.is_dir():
            raise InvalidConfiguration(
                f"GEO_ASSETS_SCHEMAS names {folder}, which is no folder.",
                remedy="Run `geo-assets schemas fetch`, or unset it to check items against core STAC only.",
            )
        place = schema_path(folder, url)
    if place is None or not place.is_file():
        return None
    try:
        document = json.loads(place.read_bytes())
    except ValueError as error:
        raise InvalidConfiguration(f"{place} is no JSON: {error}.", remedy="Fetch the schemas again.") from error
    if not isinstance(document, dict):
        raise InvalidConfiguration(f"{place} is no JSON schema.", remedy="Fetch the schemas again.")
    return document


def references(schema: Any, *, base: str) -> Iterator[str]:
    """The addresses, without fragments, of the other schemas that ``schema`` refers to; ``base`` is its own."""
    if isinstance(schema, dict):
        if isinstance(target := schema.get("$ref"), str):
            url = urldefrag(urljoin(base, target)).url
            if url != urldefrag(base).url:
                yield url
        for part in schema.values():
            yield from references(part, base=base)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part, base=base)


def unchecked_extensions(folder: Path | None, extensions: Iterable[str] = EXTENSIONS) -> dict[str, str]:
    """The extensions that cannot be checked in full with the schemas on this machine, and why."""
    reasons = {}
    for extension in extensions:
        missing = missing_schemas(extension, folder)
        if extension in missing:
            reasons[extension] = "GEO_ASSETS_SCHEMAS is not set" if folder is None else f"no schema in {folder}"
        elif missing:
            reasons[extension] = f"in part only: it refers to {', '.join(missing)}"
    return reasons


def missing_schemas(url: str, folder: Path | None) -> list[str]:
    """The address itself, or those that its schema refers to in any number of steps, that are not on this machine."""
    waiting, seen, missing = [url], {url}, []
    while waiting:
        url = waiting.pop()
        if url.startswith(_META_SCHEMAS):
            continue
        schema = read_schema(url, folder)
        if schema is None:
            missing.append(url)
            continue
        others = set(references(schema, base=url)) - seen
        seen |= others
        waiting += others
    return sorted(missing)


def _bundled(url: str) -> Traversable | None:
    """The file of a library that holds the schema of ``url``."""
    parts = urlsplit(url)
    name = parts.path.rpartition("/")[2]
    shipped = files("pystac.validation.jsonschemas")
    place: Traversable | None = None
    if parts.netloc == "proj.org" and name == "projjson.schema.json":
        place = Path(pyproj.datadir.get_data_dir(), name)
    elif parts.netloc == "geojson.org":
        place = shipped / "geojson" / name
    elif parts.netloc == "schemas.stacspec.org" and parts.path.startswith("/v1.1.0/"):
        place = shipped / "stac-spec" / "v1.1.0" / name
    return place if place is not None and place.is_file() else None
