"""Sidecars: files that belong to a raster beside them and are no rasters of their own.

Here: which names are sidecars, which of them place a raster (world files and .prj), and the version that a blob has
together with those. Not here: reading what they say (`placement`) or fetching them (`geo_assets.resources`).

Source: GDAL's names of world files (the first and last letter of the extension and w, the extension and w, wld).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from geo_assets.models import SIDECARS_MARK, BlobPage, BlobRef

WORLD_FILES = (
    ".tfw", ".tifw", ".tiffw", ".pgw", ".pngw", ".jgw", ".jpgw", ".jpegw", ".j2w", ".jp2w", ".jkw", ".j2kw", ".wld",
)  # fmt: skip
PLACING = (*WORLD_FILES, ".prj")
SHAPEFILE_PARTS = (".shx", ".dbf", ".cpg")
"""No sidecars, for alone they are files like others; but the version of a shapefile names them, and its .prj."""
SIDECARS = (*PLACING, ".ovr", ".msk", ".aux.xml")
_PICTURES = (".png", ".jpg", ".jpeg", ".jp2", ".j2k", ".jpx")
MAX_SIDECAR_BYTES = 64 * 1024
"""A world file is six lines; the longest honest .prj a few kilobytes."""


def is_sidecar(name: str) -> bool:
    """Whether a blob of this name belongs to another one, whether that is there or not."""
    return name.lower().endswith(SIDECARS)


def places_rasters(name: str) -> bool:
    """Whether a blob of this name is one that the version of its rasters, or of its shapefile, names."""
    return name.lower().endswith((*PLACING, *SHAPEFILE_PARTS))


def placing_names(name: str) -> tuple[str, ...]:
    """The sidecars that may place the raster ``name``: world files, the most specific first, and .prj, in both cases.

    They lie in its own folder and differ in the extension only.
    """
    stem, dot, extension = name.rpartition(".")
    if not dot or not extension or "/" in extension:
        return ()
    extension = extension.lower()
    if extension == "shp":
        return tuple(f"{stem}{each}" for part in (*SHAPEFILE_PARTS, ".prj") for each in (part, part.upper()))
    endings = (f"{extension[0]}{extension[-1]}w", f"{extension}w", "wld", "prj")
    return tuple(f"{stem}.{spelled}" for ending in endings for spelled in (ending, ending.upper()))


def placing_sidecars(page: BlobPage | None) -> dict[str, str]:
    """The etags of a page's world files and .prj by their names."""
    return {blob.name: blob.etag for blob in page or () if places_rasters(blob.name)}


def awaits_sidecars(page: BlobPage) -> bool:
    """Whether the last blob of a page is a picture or a shapefile, whose parts may lie on the next page."""
    return bool(page.blobs) and page.blobs[-1].name.lower().endswith((*_PICTURES, ".shp"))


def with_sidecars(blobs: Sequence[BlobRef], sidecars: Mapping[str, str]) -> Sequence[BlobRef]:
    """``blobs`` whose version names those of their own ``sidecars`` (etags by name), so that it changes with them."""
    return [_versioned(blob, sidecars) for blob in blobs] if sidecars else blobs


def _versioned(blob: BlobRef, sidecars: Mapping[str, str]) -> BlobRef:
    own = [(name, sidecars[name]) for name in placing_names(blob.name) if name in sidecars]
    return replace(blob, etag=f"{blob.etag}{SIDECARS_MARK}{_digest(own)}") if own else blob


def _digest(versions: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256("\n".join(f"{name}\n{etag}" for name, etag in versions).encode()).hexdigest()[:12]
