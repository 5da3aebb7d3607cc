"""Blobs that belong together: a raster and its sidecars, and the thousands of blobs of a Zarr store.

Here: which names are sidecars, which of them place a raster (world files and .prj), and the version that a blob has
together with those; which blob represents a Zarr store, which are parts of it, and the version that a store has in a
listing. Not here: reading what they say (`geo_assets.raster.formats`), fetching them, and containers that are one blob
(`geo_assets.raster.formats.netcdf`).

A store is a folder named *.zarr. The metadata of its root group or array stand for it. A file with an extension in that
folder is no part of it, for neither metadata documents nor chunks have such names. Its version is a digest of the
metadata documents and of the chunks of arrays with one dimension or none, which coordinates are: what an item says
comes from these alone, so data that are written again leave the item as it is.

Source of the world files: GDAL's names (the first and last letter of the extension and w, the extension and w, wld).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from geo_assets.models import SIDECARS_MARK, STORE_MARK, BlobPage, BlobRef

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


MARK = ".zarr/"
"""What the name of every blob in a store has in it."""
_IN_STORE = re.compile(r"(?:^|/)[^/]+\.zarr/(?P<rest>.+)$", re.DOTALL)
_ROOTS = frozenset({"zarr.json", ".zgroup", ".zarray"})
"""The metadata of a root group or array: of version 3, or of version 2."""
_FILE = re.compile(r"[^/]+\.[^./]*[^\W\d_][^./]*", re.DOTALL)
"""The name of a file with an extension that is no number; of chunks such as ``0.1`` and ``c.0.1`` it is one."""
_CARRIED = "\x1f"
"""Before and after what a marker carries of a store; JSON has no such character."""
_DOCUMENTS = _ROOTS | {".zattrs", ".zmetadata"}


def is_store_part(name: str) -> bool:
    """Whether a blob of this name is a part of a Zarr store other than the one that represents it."""
    rest = _rest(name)
    return bool(rest) and rest not in _ROOTS


def is_store_root(name: str) -> bool:
    """Whether the blob of this name represents a Zarr store."""
    return _rest(name) in _ROOTS


def asset_name(name: str) -> str:
    """What an item of the blob points to: the folder of a store, without a slash at the end, else the blob itself."""
    return store_folder(name) if is_store_root(name) else name


def store_folder(name: str) -> str:
    """The folder of the store that a blob is part of or represents, "" where it is part of none."""
    rest = _rest(name)
    return name[: -len(rest) - 1] if rest else ""


def tells_version(name: str) -> bool:
    """Whether a blob in a store is a metadata document or, by its name, a chunk of an array with at most one dimension.

    Such chunks are called ``time/0`` in version 2, ``time/c/0`` and (of none) ``time/c`` in version 3.
    """
    folder, _, last = _rest(name).rpartition("/")
    return last in _DOCUMENTS or last == "c" or (last.isdigit() and not folder.rpartition("/")[2].isdigit())


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that a listing is in the middle of: what was seen of it, order aside, and the blobs that stand for it."""

    folder: str
    digest: int = 0
    roots: tuple[BlobRef, ...] = ()

    def closed(self) -> tuple[BlobRef, ...]:
        """The blobs that stand for it, with the version of what was seen."""
        return tuple(replace(root, etag=f"{root.etag}{STORE_MARK}{self.digest:016x}") for root in self.roots)


class StoreVersions:
    """Gives the blobs that stand for stores their versions, in a listing, in which blobs of one store are together.

    A store is known at its end, pages later for some: so what was seen of it goes into the marker of each page that it
    does not end on, and a listing that is gone on with from there knows it.
    """

    def __init__(self, marker: str | None) -> None:
        self._open: OpenStore | None = None
        if marker is not None and marker.startswith(_CARRIED):
            self._open = _OPEN_STORE.validate_json(marker[1:].partition(_CARRIED)[0])

    def add(self, blob: BlobRef, *, is_chosen: bool) -> tuple[BlobRef, ...]:
        """Take a part of a store from a listing; the blob that represents the store before it, if that ended here."""
        ended: tuple[BlobRef, ...] = ()
        folder = store_folder(blob.name)
        if self._open is None or self._open.folder != folder:
            ended, self._open = self.end(), OpenStore(folder)
        if tells_version(blob.name):
            content = f"{blob.name}\n{blob.etag}".encode("utf-8", "surrogatepass")
            seen = int.from_bytes(hashlib.sha256(content).digest()[:8])
            self._open = replace(self._open, digest=(self._open.digest + seen) % 2**64)
        if is_chosen:
            self._open = replace(self._open, roots=(*self._open.roots, blob))
        return ended

    def goes_on_after(self, blob: BlobRef) -> bool:
        """Whether ``blob``, which is no part of a store, lies in the folder of the open one."""
        return self._open is not None and blob.name.startswith(f"{self._open.folder}/")

    def end(self) -> tuple[BlobRef, ...]:
        """No more of the open store comes: the blob that represents it, if one is open."""
        ended = self._open.closed() if self._open else ()
        self._open = None
        return ended

    def marker(self, marker: str) -> str:
        """A page's marker with what was seen of the store that is open at its end."""
        if self._open is None and not marker.startswith(_CARRIED):
            return marker
        carried = _OPEN_STORE.dump_json(self._open).decode("utf-8")
        return f"{_CARRIED}{carried}{_CARRIED}{marker}"


def page_marker(marker: str | None) -> str | None:
    """What a blob store takes of a marker of `StoreVersions`: its own part."""
    if marker is None or not marker.startswith(_CARRIED):
        return marker
    return marker[1:].partition(_CARRIED)[2]


def _rest(name: str) -> str:
    """The name below the outermost store that it is part of, "" where it is part of none."""
    match = _IN_STORE.search(name) if MARK in name else None
    if match is None:
        return ""
    rest: str = match["rest"]
    last = rest.rpartition("/")[2]
    return "" if last not in _DOCUMENTS and _FILE.fullmatch(last) else rest


_OPEN_STORE: TypeAdapter[OpenStore | None] = TypeAdapter(OpenStore | None)
