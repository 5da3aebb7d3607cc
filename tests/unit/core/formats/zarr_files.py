"""Small Zarr stores, made for tests with the zarr library."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.zarr import read_zarr_metadata
from geo_assets.raster.formats.zarr_documents import MOST_BYTES

AXES: dict[str, dict[str, str]] = {
    "time": {"standard_name": "time", "units": "hours since 2020-01-01"},
    "lat": {"standard_name": "latitude", "units": "degrees_north"},
    "lon": {"standard_name": "longitude", "units": "degrees_east"},
}


def write_cube(
    folder: Path,
    *,
    zarr_format: int = 3,
    consolidated: bool = False,
    edit: Callable[[Any], object] | None = None,
    **axes: Any,
) -> Path:
    """A store with an array tas over time, lat and lon by CF; ``axes`` are other values of them, ``edit`` gets it."""
    values: dict[str, Any] = {"time": np.arange(24.0), "lat": (50.0, 49.0), "lon": (10.0, 11.0, 12.0)} | axes
    group = zarr.open_group(folder, mode="w", zarr_format=3 if zarr_format == 3 else 2)
    for name, each in values.items():
        add_array(group, name, each, (name,), AXES[name])
    add_array(group, "tas", np.ones([len(each) for each in values.values()], "f4"), tuple(values), {"units": "K"})
    group.attrs["title"] = "A cube"
    if edit:
        edit(group)
    if consolidated:
        zarr.consolidate_metadata(folder, zarr_format=3 if zarr_format == 3 else 2)
    return folder


def add_array(group: Any, name: str, values: Any, dimensions: tuple[str, ...], attributes: Any, **options: Any) -> None:
    """An array with named dimensions, in the way of the group's version."""
    array = np.asarray(values)
    named: dict[str, Any] = {"dimension_names": dimensions} if group.metadata.zarr_format == 3 else {}
    made = group.create_array(name, shape=array.shape, dtype=array.dtype, **named, **options)
    made.attrs.update(attributes if named else {**attributes, "_ARRAY_DIMENSIONS": list(dimensions)})
    made[...] = array


@dataclass
class FolderFiles:
    """The files of a store in a folder, and which of them were read."""

    folder: Path
    seen: list[str] = field(default_factory=list)

    def read(self, name: str, most: int) -> bytes | None:
        assert most <= MOST_BYTES + 1
        path = self.folder / name
        self.seen.append(name)
        return path.read_bytes()[:most] if path.is_file() else None

    def folders(self, path: str) -> Iterator[str]:
        return (each.name for each in sorted((self.folder / path).iterdir()) if each.is_dir())


def read_store(folder: Path, files: FolderFiles | None = None) -> RasterMetadata:
    """What is read of a store in a folder."""
    root = next(name for name in ("zarr.json", ".zgroup", ".zarray") if (folder / name).exists())
    return read_zarr_metadata(files or FolderFiles(folder), root=root, content=(folder / root).read_bytes())
