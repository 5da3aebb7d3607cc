"""A Zarr store, version 2 or 3: what its metadata and coordinates say, as raster metadata.

Here: from a store's arrays to CF variables, which level of a pyramid counts, spellings of georeference beside CF's
(``proj:code``, ``proj:wkt2``, ``proj:projjson`` and ``spatial:transform`` of the GeoZarr conventions, ``_CRS`` of GDAL,
``crs_wkt`` and ``spatial_ref``), and the few chunks of coordinates, decoded by the zarr library. Not here: the
documents (`zarr_documents`), CF (`netcdf`, `cf`), which blobs are a store (`storage.related_blobs`), any chunk of
data.

The library sees a store in memory that holds one array's metadata and those chunks, so it reads nothing on its own. It
is asked for nothing but well-known compressors: numcodecs has one that unpickles what it is given.

Source: the Zarr conventions proj and spatial, version 1; GDAL's Zarr driver.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import product
from math import ceil, isfinite, prod
from typing import Any

import numpy as np
import pyproj
import zarr
from zarr.core.buffer import Buffer as AnyBuffer
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from geo_assets.errors import Corrupt, GeoAssetsError, MissingCrs, TooLarge, UnsupportedFormat
from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.cf import MAX_VALUES, Array, CfFile, Variable
from geo_assets.raster.formats.netcdf import describe_cf
from geo_assets.raster.formats.zarr_documents import BoundedFiles, StoreFiles, ZarrArray, ZarrDocuments, ZarrGroup
from geo_assets.raster.header import clean_text

MOST_CHUNKS = 64
"""Of a coordinate along one dimension with more, the first and the last value are read: CF demands order."""
MAX_CHUNK_BYTES = 64 * 1024 * 1024
_COMPRESSORS = frozenset(
    {"blosc", "bz2", "delta", "fixedscaleoffset", "gzip", "lz4", "lzma", "shuffle", "zlib", "zstd"}
)
_CODECS = (
    _COMPRESSORS | {f"numcodecs.{name}" for name in _COMPRESSORS} | {"bytes", "crc32c", "sharding_indexed", "transpose"}
)


def read_values(array: ZarrArray, files: BoundedFiles) -> Array:
    """The values as float64; of a long coordinate the first and the last only.

    Raises TooLarge, UnsupportedFormat where a codec is not read, Corrupt where they cannot be decoded, and what
    ``files`` raises.
    """
    label = clean_text(array.path)[:60]
    if prod(array.shape) > MAX_VALUES:
        raise TooLarge(f"The coordinate {label!r} has more than {MAX_VALUES:,} values.")
    if not array.data_type or not prod(array.shape):
        return np.empty(0)
    if unknown := [codec for codec in array.codecs if codec not in _CODECS]:
        raise UnsupportedFormat(f"The coordinate {label!r} is written with the codec {clean_text(unknown[0])[:40]!r}.")
    try:
        return _decode(array, files, label)
    except (GeoAssetsError, MemoryError):
        raise
    except Exception as error:  # whatever a codec or the library makes of damaged bytes or metadata
        raise Corrupt(f"The coordinate {label!r} cannot be decoded: {clean_text(str(error))[:200]}.") from error


def _decode(array: ZarrArray, files: BoundedFiles, label: str) -> Array:
    held: dict[str, AnyBuffer] = {name: Buffer.from_bytes(content) for name, content in array.documents.items()}
    store = MemoryStore(held, read_only=True)
    opened = zarr.open_array(store, mode="r", zarr_format=3 if array.zarr_format == 3 else 2)
    stored = opened.shards or opened.chunks
    if max(prod(stored), prod(opened.chunks)) * opened.dtype.itemsize > MAX_CHUNK_BYTES:
        raise TooLarge(f"The coordinate {label!r} has larger chunks than are read.")
    counts = [ceil(size / chunk) for size, chunk in zip(array.shape, stored, strict=True)]
    is_whole = prod(counts) <= MOST_CHUNKS
    if not is_whole and len(counts) > 1:
        raise TooLarge(f"The coordinate {label!r} lies in more than {MOST_CHUNKS} chunks.")
    for place in product(*map(range, counts)) if is_whole else ((0,), (counts[0] - 1,)):
        key = opened.metadata.encode_chunk_key(place)
        if (content := files.read(f"{array.path}/{key}")) is not None:
            held[key] = Buffer.from_bytes(content)
            continue
        values = prod(min(chunk, size - at * chunk) for at, chunk, size in zip(place, stored, array.shape, strict=True))
        # Writers leave out a chunk that holds nothing but the fill value (0 where that is null): the time of a store
        # of one moment, say. Of an axis that is one value at most.
        if values > 1:
            raise Corrupt(
                f"The coordinate {label!r} lacks its chunk {key!r}.",
                remedy="Upload the store again, or wait until its upload is done: the next listing reads it again.",
            )
    chosen = opened[...] if is_whole else np.array([opened[0], opened[-1]])
    return np.asarray(chosen, dtype=np.float64)


_RIOXARRAY = "spatial_ref"


def with_grid_mappings(
    variables: Mapping[str, Variable],
    *,
    array_attributes: Mapping[str, Mapping[str, Any]],
    group_attributes: Mapping[str, Any],
) -> dict[str, Variable]:
    """``variables``, those without a grid mapping given the one their attributes, or the group's, amount to.

    Raises MissingCrs where one of them states a CRS that PROJ does not know.
    """
    found = dict(variables)
    made: dict[tuple[tuple[str, str], ...], str] = {}
    for name, variable in variables.items():
        if variable.text("grid_mapping") or len(variable.dimensions) < 2 or not variable.data_type:
            continue
        mapping = _mapping(group_attributes, variable) | _mapping(array_attributes[name], variable)
        if mapping:
            made.setdefault(tuple(mapping.items()), f"(attributes {len(made) + 1})")
            key = made[tuple(mapping.items())]
            found[key] = Variable(key, (), (), "", mapping, lambda: np.empty(0))
        elif _RIOXARRAY in variables and variables[_RIOXARRAY].text("crs_wkt"):
            key = _RIOXARRAY
        else:
            continue
        found[name] = replace(variable, attributes={**variable.attributes, "grid_mapping": key})
    return found


def _mapping(stated: Mapping[str, Any], variable: Variable) -> dict[str, str]:
    crs, transform = _crs(stated), _transform(stated, variable)
    return ({"crs_wkt": crs} if crs else {}) | ({"GeoTransform": transform} if transform else {})


def _crs(stated: Mapping[str, Any]) -> str:
    """The WKT of the CRS, "" where none is stated."""
    gdal = stated.get("_CRS")
    spellings = {
        **stated,
        **{f"_CRS {name}": value for name, value in (gdal if isinstance(gdal, dict) else {}).items()},
    }
    for name in ("proj:wkt2", "proj:projjson", "proj:code", "_CRS wkt", "_CRS projjson", "crs_wkt", "spatial_ref"):
        value = spellings.get(name)
        if not value:
            continue
        try:
            if isinstance(value, dict):
                return pyproj.CRS.from_json_dict(value).to_wkt("WKT2_2019")
            if name == "proj:code":
                return pyproj.CRS.from_authority(*str(value).split(":", 1)).to_wkt("WKT2_2019")
            return pyproj.CRS.from_wkt(str(value)).to_wkt("WKT2_2019")
        except (pyproj.exceptions.CRSError, TypeError, ValueError) as error:
            text = clean_text(str(value))[:60]
            raise MissingCrs(
                f"PROJ cannot read the CRS in the attribute {name.removeprefix('_CRS ')}: {text}."
            ) from error
    return ""


def _transform(stated: Mapping[str, Any], variable: Variable) -> str:
    """``spatial:transform`` in GDAL's order, where it is of corners of pixels and of the last two dimensions."""
    numbers, axes = stated.get("spatial:transform"), stated.get("spatial:dimensions")
    if stated.get("spatial:registration", "pixel") != "pixel" or not isinstance(numbers, list) or len(numbers) != 6:
        return ""
    if isinstance(axes, list) and axes != list(variable.dimensions[-2:]):
        return ""
    try:
        a, b, c, d, e, f = map(float, numbers)
    except (TypeError, ValueError, OverflowError):
        return ""
    return " ".join(map(repr, (c, a, b, f, d, e))) if all(map(isfinite, (a, b, c, d, e, f))) else ""


MOST_LEVELS = 32


def read_zarr_metadata(files: StoreFiles, *, root: str, content: bytes) -> RasterMetadata:
    """The facts of the store whose metadata document ``root`` (``zarr.json`` or ``.zgroup``) holds ``content``.

    Each gridded array of the root group is a band, or of the finest level where the group is a pyramid. Raises Corrupt,
    TooLarge, UnsupportedFormat, MissingTransform or MissingCrs, and what ``files`` raises.
    """
    bounded = BoundedFiles(files, bytes_read=len(content))
    documents = ZarrDocuments(bounded, root=root, content=content)
    group = documents.group("")
    path = ""
    if levels := _levels(group.attributes):
        path, group = _finest(documents, levels, group)
    elif not group.arrays:
        within = ", ".join(clean_text(name) for name in group.groups)[:200] or "nothing"
        raise UnsupportedFormat(
            f"Its root group has no arrays of its own, but {within}: groups in groups are not read."
        )
    metadata = describe_cf(_cf_file(group, bounded), driver=f"Zarr {documents.zarr_format}")
    note = {"": {"multiscales": f"the finest of {len(levels)} levels: {clean_text(path)[:100]}"}} if path else {}
    return replace(metadata, tags={**metadata.tags, **note}, bytes_read=bounded.bytes_read)


def _levels(attributes: Mapping[str, Any]) -> list[str]:
    """The paths of a pyramid's levels, by the convention multiscales or as OME and ndpyramid list them."""
    stated = attributes.get("multiscales")
    if isinstance(stated, list) and len(stated) == 1:
        stated = stated[0]
    if not isinstance(stated, dict):
        return []
    entries = stated.get("layout") or stated.get("datasets") or []
    paths = [
        entry.get("asset") or entry.get("path") for entry in (entries if isinstance(entries, list) else []) if
        isinstance(entry, dict)
    ]  # fmt: skip
    return [path.strip("/") for path in paths if isinstance(path, str) and path.strip("/")]


def _finest(documents: ZarrDocuments, levels: list[str], root: ZarrGroup) -> tuple[str, ZarrGroup]:
    """The level with most cells, whatever the order they are listed in; the root's attributes hold for it too."""
    if len(levels) > MOST_LEVELS:
        raise TooLarge(f"Its pyramid has more than {MOST_LEVELS} levels.")
    found = {level: documents.group(level) for level in levels if level not in root.arrays}
    sizes = {
        level: max((prod(array.shape) for array in group.arrays.values()), default=0) for level, group in found.items()
    }
    finest = max(sizes, key=lambda level: sizes[level], default="")
    if not sizes.get(finest):
        raise UnsupportedFormat("The levels of its pyramid are no groups of arrays.")
    return finest, replace(found[finest], attributes={**root.attributes, **found[finest].attributes})


def _cf_file(group: ZarrGroup, files: BoundedFiles) -> CfFile:
    variables = {
        name: Variable(
            name=name,
            dimensions=array.dimensions,
            shape=array.shape,
            data_type=array.data_type,
            attributes=array.attributes,
            read=cache(partial(read_values, array, files)),
        )
        for name, array in group.arrays.items()
    }
    attributes = {name: array.raw_attributes for name, array in group.arrays.items()}
    plain = {name: value for name, value in group.attributes.items() if isinstance(value, str | int | float)}
    return CfFile(
        with_grid_mappings(variables, array_attributes=attributes, group_attributes=group.attributes), attributes=plain
    )
