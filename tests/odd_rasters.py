"""Sound rasters of every odd kind that GDAL can write, and one whose pixels are damaged in one block."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.transform import Affine, from_origin

DAMAGED = "damaged.tif"
COMPLEX_INT32 = "complex_int32.tif"
SIDE = 40


def write_odd_rasters(folder: Path, wanted: Collection[str] = ()) -> list[str]:
    """Write a raster of each kind, or of the ``wanted`` ones; their names. `DAMAGED` alone is not sound."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in (*_KINDS, COMPLEX_INT32, DAMAGED) if not wanted or name in wanted]
    for name in names:
        if name in _KINDS:
            _write(folder / name, **_KINDS[name])
    if COMPLEX_INT32 in names:
        _write_complex_int32(folder / COMPLEX_INT32)
    if DAMAGED in names:
        _damage(folder / DAMAGED)
    return names


def _numbers(dtype: str, shape: tuple[int, int], most: int | None = None) -> Any:
    rng = np.random.default_rng(7)
    if dtype == "complex_int16":
        return (rng.integers(-300, 300, shape) + 1j * rng.integers(-300, 300, shape)).astype("complex64")
    if dtype.startswith("complex"):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype("float16").astype(dtype)
    limits = np.iinfo(dtype)
    high = limits.max if most is None else most
    return rng.integers(limits.min if most is None else 0, high, shape, dtype=dtype, endpoint=True)


def _write(
    path: Path,
    *,
    dtype: str = "uint16",
    shape: tuple[int, int] = (SIDE, SIDE),
    count: int = 1,
    most: int | None = None,
    mask: bool = False,
    change: Callable[[Any], Any] = lambda values: values,
    after: Callable[[Any], None] = lambda _: None,
    **profile: Any,
) -> None:
    options: dict[str, Any] = {
        "driver": "GTiff",
        "crs": "EPSG:32633",
        "transform": from_origin(500_000, 5_000_000, 10, 10),
        **profile,
    }
    values = change(_numbers(dtype, shape, most))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", height=shape[0], width=shape[1], count=count, dtype=dtype, **options) as raster,
    ):
        for band in range(1, count + 1):
            raster.write(values, band)
        after(raster)
        if mask:
            hidden = np.full(shape, 255, "uint8")
            hidden[:5] = 0
            raster.write_mask(hidden)


def _corner(value: float) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        values[:5, :5] = value
        return values

    return change


def _everywhere(value: float) -> Callable[[Any], Any]:
    return lambda values: np.full_like(values, value)


def _palette(raster: Any) -> None:
    raster.colorinterp = [ColorInterp.palette]


def _alpha(raster: Any) -> None:
    raster.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def _damage(path: Path) -> None:
    """Zeros amid the bytes of one of sixteen blocks."""
    _write(path, shape=(256, 256), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)


def _write_complex_int32(path: Path) -> None:
    """rasterio writes no such type, GDAL does."""
    _write(path, dtype="complex_int16")
    view = path.with_suffix(".vrt")
    with rasterio.open(path) as raster:
        rasterio.shutil.copy(raster, view, driver="VRT")
    view.write_text(view.read_text().replace('dataType="CInt16"', 'dataType="CInt32"'))
    with rasterio.open(view) as raster:
        rasterio.shutil.copy(raster, written := path.with_suffix(".new"), driver="GTiff")
    view.unlink()
    written.replace(path)


_GCPS = [
    GroundControlPoint(row=row, col=column, x=500_000 + 10 * column, y=5_000_000 - 10 * row)
    for row in (0, SIDE)
    for column in (0, SIDE)
]
_RPCS = RPC(
    height_off=0, height_scale=500, lat_off=45, lat_scale=0.01, line_off=SIDE / 2, line_scale=SIDE / 2,
    long_off=15, long_scale=0.01, samp_off=SIDE / 2, samp_scale=SIDE / 2,
    line_num_coeff=[0, 0, -1, *[0] * 17], line_den_coeff=[1, *[0] * 19],
    samp_num_coeff=[0, 1, *[0] * 18], samp_den_coeff=[1, *[0] * 19],
    err_bias=None, err_rand=None,
)  # fmt: skip
_NOWHERE: dict[str, Any] = {"crs": None, "transform": None}

_KINDS: dict[str, dict[str, Any]] = {
    "palette.tif": {"dtype": "uint8", "after": _palette},
    "bits_1.tif": {"dtype": "uint8", "most": 1, "nbits": 1},
    "bits_4.tif": {"dtype": "uint8", "most": 15, "nbits": 4},
    "bits_12.tif": {"most": 4095, "nbits": 12},
    "bits_15.tif": {"most": 32767, "nbits": 15},
    "jpeg2000_15.jp2": {"most": 32767, "nbits": 15, "driver": "JP2OpenJPEG", "reversible": "yes", "quality": 100},
    "half_float.tif": {"dtype": "float32", "nbits": 16},
    "complex_int16.tif": {"dtype": "complex_int16"},
    "complex_float32.tif": {"dtype": "complex64"},
    "complex_float64.tif": {"dtype": "complex128"},
    "int8.tif": {"dtype": "int8", "nodata": -128, "change": _corner(-128)},
    "int64.tif": {"dtype": "int64", "nodata": -9999, "change": _corner(-9999)},
    "uint64.tif": {"dtype": "uint64"},
    "bands_31.tif": {"count": 31},
    "mask.tif": {"mask": True},
    "alpha.tif": {"dtype": "uint8", "count": 4, "photometric": "rgb", "after": _alpha},
    "gcps.tif": {"gcps": _GCPS, "transform": None},
    "rpcs.tif": {**_NOWHERE, "rpcs": _RPCS},
    "rotated.tif": {"transform": Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)},
    "one_pixel.tif": {"shape": (1, 1)},
    "one_row.tif": {"shape": (1, 500)},
    "long.tif": {"dtype": "uint8", "shape": (3, 70_000), "transform": from_origin(500_000, 5_000_000, 1, 1)},
    "nodata_nan.tif": {"dtype": "float32", "nodata": float("nan"), "change": _corner(float("nan"))},
    "all_nodata.tif": {"dtype": "float64", "nodata": -1.0, "change": _everywhere(-1.0)},
    "all_nan.tif": {"dtype": "float32", "nodata": float("nan"), "change": _everywhere(float("nan"))},
}  # fmt: skip
