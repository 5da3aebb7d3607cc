"""The variables of a NetCDF-4 file, which is HDF5, read by ranges.

Here: opening it so that nothing but its own bytes is ever read, and its root group as CF variables. Not here: what
they mean (`cf_grid`).

An HDF5 file may name other files: by external links, in which GDAL and HDF5 follow paths of this machine, by datasets
whose bytes lie elsewhere, and by virtual datasets. A file that has one of them anywhere is refused before anything of
it is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import h5py
import numpy as np

from geo_assets.errors import Corrupt, GeoAssetsError, TooLarge, UnsupportedFormat
from geo_assets.raster.data_types import REAL
from geo_assets.raster.formats.cf import MAX_VALUES, MAX_VARIABLES, Array, CfFile, Variable
from geo_assets.raster.header import clean_text
from geo_assets.raster.io import GuardedFile

MAX_CHUNK_BYTES = 64 * 1024 * 1024
_INTERNAL = frozenset(
    {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
)
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


@contextmanager
def open_hdf5(guard: GuardedFile) -> Iterator[CfFile]:
    """The root group of an HDF5 file, to be read while it is open.

    Raises UnsupportedFormat where it is no NetCDF or names other files, Corrupt or TooLarge, and whatever the file
    behind ``guard`` raises.
    """
    try:
        with h5py.File(guard, "r") as file:
            _check_self_contained(file)
            yield _root(file)
    except GeoAssetsError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        guard.raise_error()
        raise Corrupt(f"HDF5 cannot read it: {clean_text(str(error))[:300]}") from error
    guard.raise_error()


def _check_self_contained(file: h5py.File) -> None:
    """Walk all groups by their links, following none that leads out."""
    seen: set[Any] = set()
    waiting = [file["/"]]
    while waiting:
        group = waiting.pop()
        for name in group:
            match group.get(name, getlink=True):
                case h5py.ExternalLink():
                    raise UnsupportedFormat(f"Its {clean_text(name)[:60]!r} is a link to another file, never followed.")
                case h5py.SoftLink():
                    continue
            member = group[name]
            key = h5py.h5o.get_info(member.id)
            if (key.fileno, key.addr) in seen:
                continue
            seen.add((key.fileno, key.addr))
            if len(seen) > MAX_VARIABLES:
                raise TooLarge(f"The file has more than {MAX_VARIABLES} groups and variables.")
            if isinstance(member, h5py.Group):
                waiting.append(member)
            elif isinstance(member, h5py.Dataset) and (member.external or member.is_virtual):
                raise UnsupportedFormat(f"Its {clean_text(name)[:60]!r} has its data in other files, never read.")


def _root(file: h5py.File) -> CfFile:
    datasets = {
        name: file[name]
        for name in file
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset)
    }
    if "_NCProperties" not in file.attrs and not any(dataset.is_scale for dataset in datasets.values()):
        raise UnsupportedFormat("The file is HDF5, but no NetCDF: it has no dimensions.")
    variables = {
        name: _variable(name, dataset)
        for name, dataset in datasets.items()
        if not bytes(_plain(dataset.attrs.get("NAME", b""), raw=True)).startswith(_NO_VARIABLE)
    }
    return CfFile(variables, _attributes(file))


def _variable(name: str, dataset: h5py.Dataset) -> Variable:
    data_type = dataset.dtype.newbyteorder("=").name
    return Variable(
        name=name,
        dimensions=_dimensions(name, dataset),
        shape=tuple(dataset.shape or ()),
        data_type=data_type if data_type in REAL else "",
        attributes=_attributes(dataset),
        read=partial(_read_values, name, dataset),
    )


def _dimensions(name: str, dataset: h5py.Dataset) -> tuple[str, ...]:
    """The names of the scales attached to each axis; a scale is its own."""
    if dataset.is_scale and dataset.ndim == 1:
        return (name,)
    names = []
    for number, dimension in enumerate(dataset.dims):
        scale = dimension[0].name if len(dimension) else None
        names.append(str(scale).rpartition("/")[2] if scale else f"{name}[{number}]")
    return tuple(names)


def _attributes(holder: h5py.File | h5py.Dataset) -> dict[str, Any]:
    """Attributes that are text or numbers."""
    found: dict[str, Any] = {}
    for number, name in enumerate(holder.attrs):
        if number >= MAX_VARIABLES:
            raise TooLarge(f"More than {MAX_VARIABLES} attributes.")
        if name in _INTERNAL:
            continue
        try:
            value = _plain(holder.attrs[name])
        except (OSError, TypeError, ValueError):  # a type numpy has no name for
            continue
        if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "iuf"):
            found[name] = value
    return found


def _plain(value: Any, *, raw: bool = False) -> Any:
    """Text as str (or bytes), numbers as arrays."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU" and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, bytes | str):
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return data if raw else data.decode("utf-8", "replace").rstrip("\0")
    return b"" if raw else np.asarray(value)


def _read_values(name: str, dataset: h5py.Dataset) -> Array:
    chunk = prod(dataset.chunks or (1,)) * dataset.dtype.itemsize
    if dataset.size is None or dataset.size > MAX_VALUES or chunk > MAX_CHUNK_BYTES:
        raise TooLarge(f"The variable {name[:40]!r} has more than {MAX_VALUES} values, or larger chunks than are read.")
    if dataset.dtype.kind not in "iuf":
        return np.empty(0)
    return np.asarray(dataset[()], dtype=np.float64)
