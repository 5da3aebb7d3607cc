"""Small files of every format that is read, made for tests."""

import io
import struct
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
import rasterio.shutil

from tests.unit.core.rasters import tiff_bytes

SUFFIXES = {"JP2OpenJPEG": ".jp2", "PNG": ".png", "JPEG": ".jpg"}


def picture_bytes(driver: str, *, size: int = 64) -> bytes:
    """A picture as GDAL writes it; only JPEG 2000 has a place for the CRS (EPSG:4326) and the geotransform."""
    noise = np.random.default_rng(1).integers(0, 255, (1, size, size), dtype="uint8")
    content = tiff_bytes(width=size, height=size, edit=lambda dataset: dataset.write(noise))
    with tempfile.TemporaryDirectory() as folder, rasterio.MemoryFile(content) as memory, memory.open() as dataset:
        path = Path(folder) / f"picture{SUFFIXES[driver]}"
        rasterio.shutil.copy(dataset, path, driver=driver)
        return path.read_bytes()


def gdal_netcdf_bytes(*, file_format: str = "NC", crs: str = "EPSG:32633") -> bytes:
    """A NetCDF file of 30 rows and 20 columns, 10 m each, from 500000 5000000, as GDAL writes it."""
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    content = tiff_bytes(width=20, height=30, dtype="float32", crs=crs, transform=transform, nodata=-9)
    with tempfile.TemporaryDirectory() as folder, rasterio.MemoryFile(content) as memory, memory.open() as dataset:
        path = Path(folder) / "grid.nc"
        rasterio.shutil.copy(dataset, path, driver="netCDF", FORMAT=file_format)
        return path.read_bytes()


def cf_bytes(
    *,
    lon: Any = (10.0, 11.0, 12.0),
    lat: Any = (50.0, 49.0),
    time: Any = (),
    bounds: dict[str, Any] | None = None,
    edit: Any = None,
    **time_attributes: str,
) -> bytes:
    """A NetCDF-4 file with a variable tas over time (if any), lat and lon, by CF 1.8; ``edit`` gets the open file."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        axes = {
            "time": (time, {"standard_name": "time", "units": "hours since 2020-01-01", **time_attributes}),
            "lat": (lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": (lon, {"standard_name": "longitude", "units": "degrees_east"}),
        }
        scales = [_scale(file, name, values, attributes) for name, (values, attributes) in axes.items() if len(values)]
        data = file.create_dataset("tas", shape=[len(scale) for scale in scales], dtype="int16", fillvalue=-1)
        for number, scale in enumerate(scales):
            data.dims[number].attach_scale(scale)
        data.attrs.update({"_FillValue": np.int16(-1), "units": "K", "scale_factor": 0.1, "long_name": "temperature"})
        for name, pairs in (bounds or {}).items():
            file[name].attrs["bounds"] = f"{name}_bnds"
            file.create_dataset(f"{name}_bnds", data=np.array(pairs, "float64"))
        file.attrs["time_coverage_start"] = "2020-01-01T00:00:00+01:00"
        if edit:
            edit(file)
    return memory.getvalue()


def _scale(file: h5py.File, name: str, values: Any, attributes: dict[str, str]) -> h5py.Dataset:
    dataset = file.create_dataset(name, data=np.array(values, "float64"))
    dataset.make_scale(name)
    dataset.attrs.update(attributes)
    return dataset


def classic_bytes(*, version: int = 1, hours: tuple[float, ...] = (0.0, 6.0, 12.0)) -> bytes:
    """A NetCDF classic file: tas over a record dimension time, 2 latitudes and 3 longitudes, by hand."""
    wide, far = (">q" if version == 5 else ">i"), (">i" if version == 1 else ">q")

    def number(value: int) -> bytes:
        return struct.pack(wide, value)

    def text(value: str) -> bytes:
        return number(len(value)) + value.encode().ljust(-(-len(value) // 4) * 4, b"\0")

    def listed(tag: int, entries: list[bytes]) -> bytes:
        return struct.pack(">i", tag) + number(len(entries)) + b"".join(entries)

    def attributes(**values: str) -> bytes:
        return listed(12, [text(name) + struct.pack(">i", 2) + text(value) for name, value in values.items()])

    def variable(name: str, dimensions: list[int], kind: int, size: int, begin: int, **values: str) -> bytes:
        ids = number(len(dimensions)) + b"".join(number(each) for each in dimensions)
        kinds = struct.pack(">i", kind) + number(size) + struct.pack(far, begin)
        return text(name) + ids + attributes(**values) + kinds

    def header(start: int) -> bytes:
        lengths = listed(10, [text(name) + number(size) for name, size in (("time", 0), ("lat", 2), ("lon", 3))])
        variables = [
            variable("lat", [1], 6, 16, start, units="degrees_north"),
            variable("lon", [2], 6, 24, start + 16, units="degrees_east"),
            variable("time", [0], 6, 8, start + 40, units="hours since 2020-01-01 00:00:00", standard_name="time"),
            variable("tas", [0, 1, 2], 3, 12, start + 48, units="K"),
        ]
        head = b"CDF" + bytes([version]) + number(len(hours)) + lengths + attributes(title="t")
        return head + listed(11, variables)

    start = len(header(0))
    fixed = np.array([50.0, 49.0, 10.0, 11.0, 12.0], ">f8").tobytes()
    return header(start) + fixed + b"".join(struct.pack(">d", hour) + bytes(12) for hour in hours)
