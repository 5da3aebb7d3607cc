"""The bands of a raster as STAC 1.1 writes them, the types and statistics of its pixels, and their size on the ground.

Here: the types by the names that STAC has for them, such as `uint16`, `float32`, `cint16` and `cfloat32` (everything
that geo_assets says of a type it says in these); joining what the file says of each band with what the source's rule
says (the rule wins); statistics within a budget of bytes, from the finest level that fits it; and whether the pixel
size that a file states holds on the ground. Not here: reading bands (`header` and `formats`), any guess (a colour
interpretation is no common name), anything that is not read (where no level fits, the reason is recorded), and the
ground sample distance, which only the source's rule may state.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import repeat
from math import ceil, hypot, isclose
from string import ascii_letters
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from geo_assets.errors import InvalidItem, NoFootprint
from geo_assets.models import BandMetadata, BandStatistics, RasterMetadata
from geo_assets.raster.crs import horizontal_crs
from geo_assets.raster.tiff import Directory, TiffStructure
from geo_assets.sources.item_rules import BandRule

REAL = frozenset({
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
})  # fmt: skip
"""Numbers that are not complex; numpy, rasterio, HDF5 and Zarr have the same names for them."""
_COMPLEX = {"complex_int16": "cint16", "complex_int32": "cint32", "complex64": "cfloat32", "complex128": "cfloat64"}
_GDAL = {
    "Byte": "uint8", "Int8": "int8", "UInt16": "uint16", "Int16": "int16", "UInt32": "uint32", "Int32": "int32",
    "UInt64": "uint64", "Int64": "int64", "Float16": "float16", "Float32": "float32", "Float64": "float64",
    "CInt16": "cint16", "CInt32": "cint32", "CFloat32": "cfloat32", "CFloat64": "cfloat64",
}  # fmt: skip


def of_rasterio(name: str) -> str:
    """STAC's name of what rasterio, or numpy, calls ``name``."""
    return _COMPLEX.get(name, name)


def of_gdal(name: str) -> str | None:
    """STAC's name of GDAL's type ``name``, None where there is no such type."""
    return _GDAL.get(name)


def is_complex(data_type: str) -> bool:
    """Whether its values are complex numbers, which have no order."""
    return data_type.startswith("c")


def is_integer(data_type: str) -> bool:
    """Whether its values are integers, and no complex numbers."""
    return data_type.startswith(("int", "uint"))


def bytes_of(data_types: Iterable[str]) -> int:
    """How many bytes a value of the widest of these types takes in memory."""
    return max((_bytes(each) for each in data_types), default=0)


def _bytes(data_type: str) -> int:
    return int(data_type.lstrip(ascii_letters)) // 8 * (2 if is_complex(data_type) else 1)


def build_bands(metadata: RasterMetadata, rules: Sequence[BandRule]) -> list[dict[str, Any]]:
    """STAC's ``bands``, in the order of the file.

    Raises InvalidItem where the rules are for another number of bands, or a band states a scale or an offset that
    is no number.
    """
    if rules and len(rules) != len(metadata.bands):
        raise InvalidItem(
            f"`bands` of the source lists {len(rules)} bands, the raster has {len(metadata.bands)}.",
            remedy="Correct `bands` in sources.yaml, or give such rasters a source of their own.",
        )
    names = Counter(band.name for band in metadata.bands)
    return [
        _build_band(number, band, rule, name_is_unique=names[band.name] == 1)
        for number, (band, rule) in enumerate(zip(metadata.bands, rules or repeat(None), strict=False), start=1)
    ]


def _build_band(number: int, band: BandMetadata, rule: BandRule | None, *, name_is_unique: bool) -> dict[str, Any]:
    """A STAC band; what the file says of it is its name only where it tells the bands apart and no rule names it."""
    for field, value in (("scale", band.scale), ("offset", band.offset)):
        if value is not None and not math.isfinite(value):
            raise InvalidItem(f"Band {number} states a {field} of {value}, which is no number.")
    names_itself = name_is_unique and (rule is None or rule.name is None)
    stated = {
        "name" if names_itself else "description": band.name,
        "data_type": band.data_type,
        "nodata": band.nodata,
        "unit": band.unit,
        "raster:scale": band.scale,
        "raster:offset": band.offset,
        "statistics": _build_statistics(band.statistics) if band.statistics else None,
        **(_of_rule(rule) if rule else {}),
    }
    if stated.get("description") == stated.get("name"):
        stated.pop("description", None)
    return {key: value for key, value in stated.items() if value is not None}


def _of_rule(rule: BandRule) -> dict[str, Any]:
    stated = {
        "name": rule.name,
        "description": rule.description,
        "unit": rule.unit,
        "gsd": rule.gsd,
        "eo:common_name": rule.common_name,
        "eo:center_wavelength": rule.center_wavelength,
        "eo:full_width_half_max": rule.full_width_half_max,
        "eo:solar_illumination": rule.solar_illumination,
    }
    return {key: value for key, value in stated.items() if value is not None}


def _build_statistics(statistics: BandStatistics) -> dict[str, float]:
    """STAC's Statistics object, with what is known of it."""
    return {key: value for key, value in asdict(statistics).items() if value is not None}


MOST_PIXELS = 16_000_000
"""Pixels of one band that are held in memory at once."""

MOST_BLOCK_BYTES = 64 * 1024 * 1024
"""A block must be decoded whole: a small file may hold one that is far larger than the file."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a raster: ``overview`` counts from the finest, None is full resolution."""

    overview: int | None
    factor: int
    estimated_bytes: int


def choose_level(structure: TiffStructure, *, budget_bytes: int) -> Level | str:
    """The finest level whose data fit the budget, memory and block limits; or why none does."""
    images = [structure.main, *sorted(structure.overviews, key=lambda image: -image.width)]
    refusals = []
    for index, image in enumerate(images):
        factor = round(structure.main.width / image.width)
        refusal = _refusal(image, budget_bytes=budget_bytes)
        if refusal is None:
            return Level(index - 1 if index else None, factor, _data_bytes(image))
        refusals.append(f"1/{factor}: {refusal}")
    return "no level can be read: " + "; ".join(refusals)


def read_statistics(dataset: Any) -> tuple[BandStatistics, ...]:
    """The statistics of every band of an open dataset, one band in memory at a time.

    Pixels that are nodata, masked, transparent, NaN or infinite are not valid and do not count.
    """
    return tuple(_statistics(dataset.read(number, masked=True)) for number in dataset.indexes)


def _statistics(pixels: "np.ma.MaskedArray[Any, Any]") -> BandStatistics:
    values: npt.NDArray[Any] = pixels.compressed()
    if np.issubdtype(values.dtype, np.inexact):
        values = values[np.isfinite(values)]
    valid_percent = 100.0 * values.size / pixels.size
    if not values.size:
        return BandStatistics(valid_percent=0.0)
    return BandStatistics(
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=float(values.mean(dtype=np.float64)),
        stddev=float(values.std(dtype=np.float64)),
        valid_percent=valid_percent,
    )


def _refusal(image: Directory, *, budget_bytes: int) -> str | None:
    if image.block_bytes > MOST_BLOCK_BYTES:
        return f"a block needs {image.block_bytes:,} bytes of memory, {MOST_BLOCK_BYTES:,} are allowed"
    if image.width * image.height > MOST_PIXELS:
        return f"{image.width * image.height:,} pixels a band, {MOST_PIXELS:,} are allowed"
    if (size := _data_bytes(image)) > budget_bytes:
        return f"about {size:,} bytes to read, the budget is {budget_bytes:,}"
    return None


def _data_bytes(image: Directory) -> int:
    """About how many bytes the level's blocks take in the file, from those of its blocks that were looked at."""
    if not image.blocks:
        return 0
    planes = image.samples if image.separate_planes else 1
    count = ceil(image.width / image.block_width) * ceil(image.height / image.block_height) * planes
    return ceil(sum(size for _, size in image.blocks) / len(image.blocks) * count)


TOLERANCE = 0.01
"""So far the ground may differ from the stated pixel size, as a share of it: UTM stays within 0.1 %."""

_GEOD = pyproj.Geod(ellps="WGS84")

# The centre and the corners, three times: the pixel itself, the next of its row, and the next of its column.
_COLUMNS = np.array([[0.5, 0.0, 1.0, 0.0, 1.0]] * 3)
_ROWS = np.array([[0.5, 0.0, 0.0, 1.0, 1.0]] * 3)
_STARTS = [0, 0]


def spatial_resolution_metres(metadata: RasterMetadata) -> float | None:
    """The side of a pixel in metres, where the CRS is in metres and pixels are square; None where that is not so.

    What the file states counts only where a pixel at the centre and at each corner measures as much on the ground,
    within `TOLERANCE`: a metre of Web Mercator at 60 degrees north is half a metre.
    """
    if metadata.transform is None or metadata.crs_wkt2 is None or not _is_in_metres(metadata.crs_wkt2):
        return None
    a, b, c, d, e, f = metadata.transform
    across, down = hypot(a, d), hypot(b, e)
    if not isclose(across, down, rel_tol=1e-6) or abs(a * b + d * e) > 1e-6 * across * down:
        return None
    rows, columns = metadata.shape
    column, row = _COLUMNS * (columns - 1), _ROWS * (rows - 1)
    column[1], row[2] = column[1] + 1, row[2] + 1
    try:
        crs = horizontal_crs(metadata.crs_wkt2)
    except NoFootprint:
        return None
    longitude, latitude = crs.to_wgs84(a * column + b * row + c, d * column + e * row + f)
    # Of what has no place on the globe the distance is NaN, and so not within anything.
    start = longitude[_STARTS], latitude[_STARTS]
    _, _, ground = _GEOD.inv(*start, longitude[1:], latitude[1:])
    return across if (np.abs(ground - across) <= TOLERANCE * across).all() else None


@lru_cache(maxsize=512)
def _is_in_metres(wkt2: str) -> bool:
    """Whether the CRS is projected with both axes in metres."""
    crs = pyproj.CRS.from_wkt(wkt2)
    axes = crs.axis_info[:2]
    return crs.is_projected and all(axis.unit_conversion_factor == 1 and axis.unit_name == "metre" for axis in axes)
