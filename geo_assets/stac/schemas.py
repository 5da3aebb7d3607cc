"""Checking an item against the JSON schemas of STAC, GeoJSON and the extensions it lists, and fetching these schemas.

Here: the schemas that lie on this machine (core STAC 1.1.0 and GeoJSON inside pystac, PROJJSON inside pyproj, and a
folder that holds each extension's under the path of its address, the host first), one compiled validator for all of
them, a message that leads to the place in the item, and filling that folder when a person asks: the one place of
geo_assets that fetches schemas. Checking never needs a network. Not here: rules that a schema cannot state.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.request import urlopen

import jsonschema_rs
import pyproj.datadir

from geo_assets.errors import InvalidConfiguration, InvalidItem, SchemaUnavailable
from geo_assets.foreign_errors import writing
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
                f"GEO_ASSETS_SCHEMAS names {folder}, which is not a folder.",
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


_LONGEST_MESSAGE = 300


class ItemValidator:
    """Checks items; compiled once, safe to use from many threads.

    ``unchecked`` names the extensions that it cannot check, or not in full, and why.
    """

    def __init__(self, folder: Path | None, extensions: tuple[str, ...] = EXTENSIONS) -> None:
        """Compile the schemas that ship with libraries and those of ``extensions`` that lie in ``folder``.

        Raises InvalidConfiguration where a schema there is broken.
        """
        if missing := missing_schemas(ITEM_SCHEMA, None):
            raise InvalidConfiguration(
                f"The installed pystac and pyproj do not bring {', '.join(missing)}.",
                remedy="Install the versions that constraints.txt names.",
            )
        self.unchecked = unchecked_extensions(folder, extensions)
        known = [url for url in extensions if read_schema(url, folder) is not None]

        def local(url: str) -> Any:
            """What is not here, and so is reported as unchecked, allows everything."""
            schema = read_schema(url, folder)
            return {} if schema is None else schema

        try:
            self._validator = jsonschema_rs.Draft7Validator(_combined(known), retriever=local)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise InvalidConfiguration(
                f"The schemas in {folder} do not make a whole: {error}.", remedy="Fetch them again."
            ) from error

    def check(self, item: dict[str, Any]) -> None:
        """Raise InvalidItem, with the JSON path and what is wrong there, unless ``item`` is valid."""
        try:
            self._validator.validate(item)
        except jsonschema_rs.ValidationError:
            raise InvalidItem(_explain(self._validator.iter_errors(item))) from None
        except ValueError as error:  # NaN, infinity, or what JSON has no word for
            raise InvalidItem(f"The item is no JSON: {error}.") from error


@cache
def item_validator(folder: Path | None) -> ItemValidator:
    """The validator for the extension schemas in ``folder``, compiled at the first call of this process."""
    return ItemValidator(folder)


def _combined(extensions: list[str]) -> dict[str, Any]:
    """One schema: core for every item, and that of each extension where the item lists it."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [
            {"$ref": ITEM_SCHEMA},
            *(
                {
                    "if": {"properties": {"stac_extensions": {"contains": {"const": url}}}},
                    "then": {"$ref": url},
                }
                for url in extensions
            ),
        ],
    }


def _explain(errors: Iterator[Any]) -> str:
    """The error that says most, which is the one that lies deepest in the item."""
    error = max((_leaf(error) for error in errors), key=lambda leaf: len(leaf.instance_path))
    message = error.message if len(error.message) <= _LONGEST_MESSAGE else f"{error.message[:_LONGEST_MESSAGE]} ..."
    schema = (error.absolute_keyword_location or "").partition("#")[0]
    return f"{_json_path(error.instance_path)}: {message}" + (f" ({schema})" if schema else "")


def _leaf(error: Any) -> Any:
    """Where none of several alternatives fits: the deepest error of the alternative that is meant, by its type."""
    branches = [branch for branch in getattr(error.kind, "context", None) or () if branch]
    if not branches:
        return error
    own_type = [*error.instance_path, "type"]

    def likelihood(branch: list[Any]) -> tuple[bool, int]:
        return all(each.instance_path != own_type for each in branch), max(len(each.instance_path) for each in branch)

    leaves = (_leaf(each) for each in max(branches, key=likelihood))
    return max(leaves, key=lambda leaf: len(leaf.instance_path))


def _json_path(path: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


_SECONDS = 30
_MOST_BYTES = 4_000_000
_MOST_SCHEMAS = 200

Get = Callable[[str], bytes]


def fetch_schemas(folder: Path, *, mirror: str | None = None, urls: Sequence[str] = EXTENSIONS) -> list[str]:
    """Write each schema of ``urls``, and those they refer to, into ``folder`` under its address; the addresses.

    ``mirror`` is an address below which a copy of such a folder is served; without it each schema comes from its own
    address, https only. What libraries bring is not fetched. Raises SchemaUnavailable, with what came until then
    written, InvalidConfiguration where a schema refers to something that cannot be kept, DiskFull, FolderNotWritable.
    """
    waiting, written = deque(urls), list[str]()
    while waiting:
        url = waiting.popleft()
        if url in written or is_bundled(url):
            continue
        if len(written) >= _MOST_SCHEMAS:
            raise SchemaUnavailable(f"More than {_MOST_SCHEMAS} schemas refer to each other: {url} is not fetched.")
        path = schema_path(folder, url)
        content = _download(_address(url, mirror))
        schema = _parse(content, url)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.part")
            unfinished.write_bytes(content)
            unfinished.replace(path)
        written.append(url)
        waiting.extend(references(schema, base=url))
    return written


def _address(url: str, mirror: str | None) -> str:
    parts = urlsplit(url)
    if mirror is not None:
        return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}"
    if parts.scheme != "https":
        raise SchemaUnavailable(f"{url} is not an https URL, and only those are fetched.")
    return url


def _download(address: str) -> bytes:
    if urlsplit(address).scheme not in ("http", "https"):
        raise SchemaUnavailable(f"{address} is no address on the web.")
    try:
        with urlopen(address, timeout=_SECONDS) as answer:
            content: bytes = answer.read(_MOST_BYTES + 1)
    except (URLError, OSError) as error:
        reason = error.reason if type(error) is URLError else error  # its subclass HTTPError says more by itself
        raise SchemaUnavailable(f"{address} cannot be fetched: {reason}.") from error
    if len(content) > _MOST_BYTES:
        raise SchemaUnavailable(f"{address} has more than {_MOST_BYTES:,} bytes, which no schema has.")
    return content


def _parse(content: bytes, url: str) -> dict[str, Any]:
    try:
        schema = json.loads(content)
    except ValueError as error:
        raise SchemaUnavailable(f"What came for {url} is no JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise SchemaUnavailable(f"What came for {url} is no JSON schema.")
    return schema
