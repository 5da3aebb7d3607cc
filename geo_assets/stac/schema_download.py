"""Filling the folder of extension schemas: the one place of geo_assets that fetches schemas, when a person asks.

Here: fetching the schemas that items are checked against, and those they refer to. Not here: using them
(`geo_assets.stac.schemas`), which never needs a network.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from geo_assets.errors import SchemaUnavailable
from geo_assets.foreign_errors import writing
from geo_assets.stac.extensions import EXTENSIONS
from geo_assets.stac.schemas import is_bundled, references, schema_path

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
