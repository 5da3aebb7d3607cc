"""The values of a Zarr store's coordinate arrays, decoded by the zarr library.

Here: fetching the few chunks a coordinate has, within bounds, and decoding them. Not here: metadata documents
(`zarr_documents`), and any chunk of data.

The library sees a store in memory that holds one array's metadata and those chunks, so it reads nothing by itself. It
is asked for nothing but well-known compressors: numcodecs has one that unpickles what it is given.
"""

from itertools import product
from math import ceil, prod

import numpy as np
import zarr
from zarr.core.buffer import Buffer as AnyBuffer
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from geo_assets.errors import Corrupt, GeoAssetsError, TooLarge, UnsupportedFormat
from geo_assets.raster.formats.cf_variables import MAX_VALUES, Array
from geo_assets.raster.formats.zarr_documents import BoundedFiles, ZarrArray
from geo_assets.raster.tags import clean_text

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
                remedy="Upload the store again, or wait until its upload is done: the next listing reads it anew.",
            )
    chosen = opened[...] if is_whole else np.array([opened[0], opened[-1]])
    return np.asarray(chosen, dtype=np.float64)
