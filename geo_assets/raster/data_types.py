"""The types of pixels by the names that STAC has for them, such as `uint16`, `float32`, `cint16` and `cfloat32`.

Everything that geo_assets says of a type it says in these names. Here: what rasterio and GDAL call each, and what
follows from a type. Not here: which type a raster has (`header` and `formats`).
"""

from collections.abc import Iterable
from string import ascii_letters

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
