"""A Zarr store, version 2 or 3: what its metadata and coordinates say, as raster metadata.

Here: from a store's arrays to CF variables, and which level of a pyramid counts. Not here: the documents
(`zarr_documents`), values (`zarr_values`), CF (`netcdf`, `cf_grid`), and which blobs are a store
(`storage.zarr_stores`).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from math import prod
from typing import Any

from geo_assets.errors import TooLarge, UnsupportedFormat
from geo_assets.models import RasterMetadata
from geo_assets.raster.formats.cf_variables import CfFile, Variable
from geo_assets.raster.formats.netcdf import describe_cf
from geo_assets.raster.formats.zarr_documents import BoundedFiles, StoreFiles, ZarrDocuments, ZarrGroup
from geo_assets.raster.formats.zarr_georeference import with_grid_mappings
from geo_assets.raster.formats.zarr_values import read_values
from geo_assets.raster.tags import clean_text

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
