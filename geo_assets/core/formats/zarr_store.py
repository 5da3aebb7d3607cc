"""Zarr stores: thousands of blobs that are one data set.

Here: which blob stands for a store, and which are parts of it. Zarr is not read yet, so the one that stands for a store
is refused by name. Not here: containers that are one blob (`netcdf`).
"""

import re

from geo_assets.errors import UnsupportedFormat

_IN_STORE = re.compile(r"(?:^|/)[^/]+\.zarr/(?P<rest>.+)$", re.DOTALL)
_ROOTS = frozenset({"zarr.json", ".zgroup", ".zarray"})
"""The metadata of a root group or array: of version 3, or of version 2."""


def is_store_part(name: str) -> bool:
    """Whether a blob of this name lies in a folder named *.zarr and is not what stands for it."""
    match = _IN_STORE.search(name) if ".zarr/" in name else None
    return match is not None and match["rest"] not in _ROOTS


def check_is_no_store(name: str) -> None:
    """Raise UnsupportedFormat where the blob stands for a Zarr store."""
    match = _IN_STORE.search(name) if ".zarr/" in name else None
    if match is not None and match["rest"] in _ROOTS:
        root = name.removesuffix(f"/{match['rest']}").rpartition("/")[2]
        raise UnsupportedFormat(
            f"{root} is a Zarr store, which is not read yet.",
            remedy="Exclude it in sources.yaml, or add it as NetCDF or GeoTIFF.",
        )
