"""The rasters that are catalogued: small, believable, the same in every run, uploaded to Azurite.

Some thirty kinds of file (CRS, data type, layout, compression, where the directory lies) hold noise of their own;
each blob is one of them, moved to a place of its own by rewriting its tie point.
"""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import product

import numpy as np
import obstore
import rasterio
from obstore.store import AzureStore
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.transform import from_origin

NAME_DATETIME = {"name": r"_(?P<date>\d{8})_", "format": "%Y%m%d"}
"""The datetime rule of the corpus, as sources.yaml has it."""

_UPLOADS_IN_FLIGHT = 16
# Doubles that nothing else in a file happens to be: they are found and replaced by each blob's own place.
_SENTINEL = (123_456.789_012_345, 654_321.098_765_432)


@dataclass(frozen=True, slots=True)
class Ground:
    """A kind of raster: its CRS, a place in it (west, north), pixel size in CRS units, and what it holds."""

    crs: str
    west: float
    north: float
    pixel: float
    dtype: str
    bands: int
    nodata: float | None


GROUNDS = (
    Ground("EPSG:32632", 300_000, 5_100_000, 10, "uint16", 1, 0),
    Ground("EPSG:3857", -7_085_000, 5_570_000, 4, "uint8", 3, None),
    Ground("EPSG:4326", -72.5, -13.0, 0.0005, "float32", 1, -9999),
    Ground("EPSG:32760", 300_000, 8_160_000, 30, "int16", 1, -32768),
    Ground("EPSG:3413", -1_900_000, -400_000, 250, "uint8", 2, 255),
    Ground("EPSG:3035", 4_350_000, 2_950_000, 100, "uint16", 2, 0),
)
LAYOUTS = ("cog", "tiled", "directory_at_end")
SIZES = (128, 224)


def blob_name(index: int) -> str:
    """The name of the ``index``-th blob, with the date of its scene."""
    scene = date(2023, 1, 1) + timedelta(days=index % 700)
    return f"scenes/{index // 1000:03d}/scene_{scene:%Y%m%d}_{index:06d}.tif"


def blob_datetime(name: str) -> datetime:
    """The datetime that `NAME_DATETIME` finds in a name of the corpus."""
    return datetime.strptime(name.rsplit("_", 2)[1], "%Y%m%d").replace(tzinfo=UTC)


def blob_content(index: int) -> bytes:
    """The GeoTIFF of the ``index``-th blob: 20 to 100 kB, at a place of its own."""
    kinds = _kinds()
    ground, content = kinds[index % len(kinds)]
    number = index // len(kinds)
    step = ground.pixel * max(SIZES)
    west = ground.west + step * (number % 40)
    north = ground.north - step * (number // 40 % 40)
    return _replace(_replace(content, _SENTINEL[0], west), _SENTINEL[1], north)


def upload_corpus(store: AzureStore, blobs: int) -> int:
    """Put the first ``blobs`` of the corpus into a container; the bytes that are."""

    def upload(index: int) -> int:
        content = blob_content(index)
        obstore.put(store, blob_name(index), content, attributes={"Content-Type": "image/tiff"}, use_multipart=False)
        return len(content)

    with ThreadPoolExecutor(_UPLOADS_IN_FLIGHT) as pool:
        return sum(pool.map(upload, range(blobs)))


@cache
def _kinds() -> tuple[tuple[Ground, bytes], ...]:
    return tuple(_build_kinds())


def _build_kinds() -> Iterator[tuple[Ground, bytes]]:
    for seed, (ground, layout, size) in enumerate(product(GROUNDS, LAYOUTS, SIZES)):
        yield ground, _geotiff(ground, layout=layout, size=size, seed=seed)


def _geotiff(ground: Ground, *, layout: str, size: int, seed: int) -> bytes:
    with MemoryFile() as memory:
        profile = {
            "driver": "GTiff",
            "width": size,
            "height": size,
            "count": ground.bands,
            "dtype": ground.dtype,
            "crs": ground.crs,
            "transform": from_origin(*_SENTINEL, ground.pixel, ground.pixel),
            "nodata": ground.nodata,
            "compress": "deflate",
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
        }
        with memory.open(**profile) as dataset:
            dataset.write(_pixels(ground, size=size, seed=seed))
        with rasterio.open(memory.name, "r+") as dataset:
            dataset.build_overviews([2, 4])
            if layout == "directory_at_end":  # its directory outgrows its place, and moves behind the data
                dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION="Synthetic, for benchmarks", PROVIDER="geo_assets")
        if layout != "cog":
            return bytes(memory.read())
        with MemoryFile() as optimized:
            copy(memory.name, optimized.name, driver="COG", compress="deflate", blocksize=128)
            return bytes(optimized.read())


def _pixels(ground: Ground, *, size: int, seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """A smooth slope under noise of a few bits, which deflate leaves at some 20 to 100 kB; a corner is nodata."""
    noise = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size]
    slope = (rows + columns) // 8
    pixels = slope + noise.integers(1, 12, (ground.bands, size, size))
    if ground.dtype == "float32":
        pixels = np.round(pixels * 0.37, 1)
    if ground.nodata is not None:
        pixels[:, rows + columns < size // 4] = ground.nodata
    return np.asarray(pixels).astype(ground.dtype)


def _replace(content: bytes, old: float, new: float) -> bytes:
    """``content`` with one double replaced, also in a directory that was written anew further down."""
    packed = struct.pack("<d", old)
    if packed not in content:
        raise ValueError(f"the tie point {old} is not in the file")
    return content.replace(packed, struct.pack("<d", new))
