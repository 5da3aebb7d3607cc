"""The metadata documents of a Zarr store, version 2 or 3, as groups and arrays.

Here: reading those JSON documents, consolidated or one by one, within bounds. Not here: values of arrays
(`zarr`), and what the attributes mean (`cf`, `zarr`).

The documents are plain JSON and read as such: the zarr library refuses a whole store for one array whose codec or type
it does not know, and a band needs neither.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from geo_assets.errors import Corrupt, TooLarge, UnsupportedFormat
from geo_assets.raster.bands import REAL
from geo_assets.raster.formats.cf import MAX_VARIABLES
from geo_assets.raster.header import clean_text

MOST_BYTES = 32 * 1024 * 1024
"""All documents and chunks together that are read of one store."""


class StoreFiles(Protocol):
    """The files of one store, by names below its folder."""

    def read(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of a file, None where there is none."""
        ...

    def folders(self, path: str) -> Iterator[str]:
        """The names of the folders in the folder ``path`` ("" the store itself)."""
        ...


@dataclass(slots=True)
class BoundedFiles:
    """The files of a store, of which no more than `MOST_BYTES` are read; counts what is."""

    files: StoreFiles
    bytes_read: int = 0

    def read(self, name: str) -> bytes | None:
        """A whole file, None where there is none. Raises TooLarge past the bound."""
        _check_within(name)
        room = MOST_BYTES - self.bytes_read
        content = self.files.read(name, room + 1)
        if content is not None and len(content) > room:
            raise TooLarge(f"The store's metadata and coordinates are more than {MOST_BYTES:,} bytes.")
        self.bytes_read += len(content or b"")
        return content

    def folders(self, path: str) -> Iterator[str]:
        """The names of the folders in the folder ``path``. Raises TooLarge past `MAX_VARIABLES`."""
        _check_within(path or "root")
        for count, name in enumerate(self.files.folders(path)):
            if count >= MAX_VARIABLES:
                raise TooLarge(f"The store has more than {MAX_VARIABLES} groups and arrays.")
            yield name


@dataclass(frozen=True, slots=True)
class ZarrArray:
    """One array as its documents describe it; ``documents`` are what the zarr library opens it by."""

    name: str
    path: str
    zarr_format: int
    shape: tuple[int, ...]
    dimensions: tuple[str, ...]
    data_type: str
    attributes: Mapping[str, Any]
    raw_attributes: Mapping[str, Any]
    codecs: tuple[str, ...]
    documents: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ZarrGroup:
    """A group: its attributes, its own arrays by name, and the names of the groups in it."""

    zarr_format: int
    attributes: Mapping[str, Any]
    arrays: Mapping[str, ZarrArray]
    groups: tuple[str, ...]


class ZarrDocuments:
    """The documents of one store; ``root`` is the name of the one that represents it, ``content`` what it holds."""

    def __init__(self, files: BoundedFiles, *, root: str, content: bytes) -> None:
        self._files = files
        self.zarr_format = 3 if root == "zarr.json" else 2
        self._known: dict[str, Any] = {}
        self._is_consolidated = False
        document = parse_document(content, root)
        stated = document.get("zarr_format")
        if stated != self.zarr_format:
            raise Corrupt(f"{root} is of Zarr version {clean_text(repr(stated))[:20]}, not {self.zarr_format}.")
        if root == ".zarray" or document.get("node_type") == "array":
            raise UnsupportedFormat("The store is a single array, which has no georeference: only groups are read.")
        if root == "zarr.json" and document.get("node_type") != "group":
            raise Corrupt("zarr.json says neither group nor array.")
        self._known[root] = document
        self._take_consolidated(document)

    def group(self, path: str) -> ZarrGroup:
        """The group at ``path`` ("" the root). Raises Corrupt or TooLarge."""
        names = list(self._members(path))
        if len(names) > MAX_VARIABLES:
            raise TooLarge(f"The store has more than {MAX_VARIABLES} groups and arrays.")
        arrays: dict[str, ZarrArray] = {}
        groups = []
        for name in names:
            array = self._array(name, _join(path, name))
            if array is not None:
                arrays[name] = array
            elif self._is_group(_join(path, name)):
                groups.append(name)
        _check_sizes(arrays.values())
        return ZarrGroup(self.zarr_format, self._attributes(path), arrays, tuple(groups))

    def _take_consolidated(self, root: Mapping[str, Any]) -> None:
        """Remember what consolidated metadata hold, by the names the documents would have."""
        if self.zarr_format == 3:
            nodes = _mapping(_mapping(root.get("consolidated_metadata")).get("metadata"))
            self._known |= {_join(path, "zarr.json"): node for path, node in nodes.items()}
            self._is_consolidated = bool(nodes)
        elif (content := self._files.read(".zmetadata")) is not None:
            documents = _mapping(parse_document(content, ".zmetadata").get("metadata"))
            self._known |= documents
            self._is_consolidated = bool(documents)

    def _members(self, path: str) -> Iterator[str]:
        if not self._is_consolidated:
            yield from self._files.folders(path)
            return
        start = f"{path}/" if path else ""
        below = (name.removeprefix(start).split("/") for name in self._known if name.startswith(start))
        yield from sorted({parts[0] for parts in below if len(parts) == 2})

    def _document(self, name: str) -> Mapping[str, Any] | None:
        if name not in self._known:
            content = None if self._is_consolidated else self._files.read(name)
            self._known[name] = None if content is None else parse_document(content, name)
        found = self._known[name]
        return None if found is None else _mapping(found)

    def _is_group(self, path: str) -> bool:
        name = "zarr.json" if self.zarr_format == 3 else ".zgroup"
        return self._document(_join(path, name)) is not None

    def _attributes(self, path: str) -> Mapping[str, Any]:
        if self.zarr_format == 3:
            return _mapping((self._document(_join(path, "zarr.json")) or {}).get("attributes"))
        return self._document(_join(path, ".zattrs")) or {}

    def _array(self, name: str, path: str) -> ZarrArray | None:
        """The array at ``path``, None if there is no array."""
        own = "zarr.json" if self.zarr_format == 3 else ".zarray"
        document = self._document(_join(path, own))
        if document is None or (self.zarr_format == 3 and document.get("node_type") != "array"):
            return None
        attributes = self._attributes(path)
        shape = _shape(document.get("shape"), path)
        data_type = _data_type(document, path)
        plain = _plain(attributes)
        if nodata := _nodata(document, attributes, data_type, dimensions=len(shape)):
            plain |= nodata
        return ZarrArray(
            name=name,
            path=path,
            zarr_format=self.zarr_format,
            shape=shape,
            dimensions=_dimensions(name, shape, document.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS")),
            data_type=data_type if data_type in REAL else "",
            attributes=plain,
            raw_attributes=attributes,
            codecs=tuple(_codecs(document)),
            documents={own: json.dumps(document).encode()},
        )


def parse_document(content: bytes, name: str) -> Mapping[str, Any]:
    """A JSON object. Raises Corrupt where it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{clean_text(name)[-200:]} is no JSON: {clean_text(str(error))[:100]}.") from error
    if not isinstance(document, dict):
        raise Corrupt(f"{clean_text(name)[-200:]} holds no JSON object.")
    return document


def _check_within(name: str) -> None:
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise UnsupportedFormat(f"Its metadata name {clean_text(name)[:100]!r}, which lies outside the store.")


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _shape(value: Any, path: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(size) is int and 0 <= size < 2**63 for size in value):
        raise Corrupt(f"The array {clean_text(path)[:60]!r} has no shape.")
    return tuple(value)


def _data_type(document: Mapping[str, Any], path: str) -> str:
    """numpy's name of the type, whatever it is where it is no number."""
    stated = document.get("data_type") if "data_type" in document else document.get("dtype")
    if "data_type" in document or not isinstance(stated, str):
        return stated if isinstance(stated, str) else ""
    try:
        return np.dtype(stated).newbyteorder("=").name
    except (TypeError, ValueError, SyntaxError) as error:
        raise Corrupt(f"The array {clean_text(path)[:60]!r} has an unknown type: {stated[:40]!r}.") from error


def _check_sizes(arrays: Iterable[ZarrArray]) -> None:
    """Nothing in a store keeps arrays that share a dimension to one size of it."""
    sizes: dict[str, int] = {}
    for array in arrays:
        for name, size in zip(array.dimensions, array.shape, strict=True):
            if sizes.setdefault(name, size) != size:
                raise Corrupt(f"Its dimension {clean_text(name)[:60]!r} has the sizes {sizes[name]} and {size}.")


def _dimensions(name: str, shape: tuple[int, ...], stated: Any) -> tuple[str, ...]:
    """The names of the dimensions; those without one get one that no other array has."""
    names = stated if isinstance(stated, list) and len(stated) == len(shape) else [None] * len(shape)
    return tuple(each if isinstance(each, str) and each else f"{name}[{axis}]" for axis, each in enumerate(names))


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that are text or numbers, these as arrays."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, str):
            found[name] = value
        elif _is_number(value) or (isinstance(value, list) and value and all(map(_is_number, value))):
            try:
                found[name] = np.asarray(value)
            except OverflowError:
                continue
    return {name: value for name, value in found.items() if isinstance(value, str) or value.dtype.kind in "iuf"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _nodata(
    document: Mapping[str, Any], attributes: Mapping[str, Any], data_type: str, *, dimensions: int
) -> dict[str, Any]:
    """``_FillValue`` as xarray writes it: of version 2 the array's fill_value, of version 3 an attribute in base64.

    Coordinates have no missing values by CF, and many a writer gives them the fill value 0.
    """
    if dimensions < 2 or data_type not in REAL:
        return {}
    stated = attributes.get("_FillValue")
    if stated is None and "dtype" in document:
        stated = document.get("fill_value")
    if isinstance(stated, str) and data_type.startswith("float"):
        spelled = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
        try:
            packed = b"" if stated in spelled else base64.b64decode(stated, validate=True)
            stated = spelled[stated] if stated in spelled else struct.unpack("<d", packed)[0]
        except (ValueError, binascii.Error, struct.error):
            return {}
    return _plain({"_FillValue": stated}) if _is_number(stated) else {}


def _codecs(document: Mapping[str, Any]) -> Iterator[str]:
    """The names of all codecs, those within a shard as well."""
    waiting: list[Any] = [document.get("codecs"), document.get("filters"), document.get("compressor")]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            yield str(each.get("name", each.get("id")))
            configuration = _mapping(each.get("configuration"))
            waiting += [configuration.get("codecs"), configuration.get("index_codecs")]
        elif isinstance(each, str):
            yield each
