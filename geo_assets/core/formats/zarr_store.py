"""Zarr stores: thousands of blobs that are one data set.

Here: which blob stands for a store, which are parts of it, and the version that a store has in a listing. Not here:
what a store says (`zarr_metadata`), and containers that are one blob (`netcdf`).

A store is a folder named *.zarr. The metadata of its root group or array stand for it. Its version is a digest of the
metadata documents and of the chunks of arrays with one dimension or none, which coordinates are: what an item says
comes from these alone, so data that are written anew leave the item as it is.
"""

import hashlib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from geo_assets.models import STORE_MARK, BlobPage, BlobRef

MARK = ".zarr/"
"""What the name of every blob in a store has in it."""
_IN_STORE = re.compile(r"(?:^|/)[^/]+\.zarr/(?P<rest>.+)$", re.DOTALL)
_ROOTS = frozenset({"zarr.json", ".zgroup", ".zarray"})
"""The metadata of a root group or array: of version 3, or of version 2."""
_DOCUMENTS = _ROOTS | {".zattrs", ".zmetadata"}


def is_store_part(name: str) -> bool:
    """Whether a blob of this name lies in a folder named *.zarr and is not what stands for it."""
    rest = _rest(name)
    return bool(rest) and rest not in _ROOTS


def is_store_root(name: str) -> bool:
    """Whether the blob of this name stands for a Zarr store."""
    return _rest(name) in _ROOTS


def asset_name(name: str) -> str:
    """What an item of the blob points to: the folder of a store, without a slash at the end, else the blob itself."""
    return store_folder(name) if is_store_root(name) else name


def store_folder(name: str) -> str:
    """The folder of the store that a blob lies in or stands for, "" where it lies in none."""
    rest = _rest(name)
    return name[: -len(rest) - 1] if rest else ""


class StoreVersions:
    """Gives the blob that stands for a store a version that changes with the store's coordinates and metadata.

    Blobs are taken in the order of a listing, in which those of one store follow each other. A page that has such a
    blob is kept until its store has ended, so that one of many pages of chunks is told whole.
    """

    def __init__(self) -> None:
        self._digests: dict[str, hashlib._Hash] = {}
        self._waiting: deque[tuple[BlobPage, str]] = deque()

    def add(self, blob: BlobRef) -> None:
        """Take the next blob of a listing that lies in a store, whether it belongs to the source or not."""
        if _tells_version(_rest(blob.name)):
            digest = self._digests.setdefault(store_folder(blob.name), hashlib.sha256())
            digest.update(f"{blob.name}\n{blob.own_etag}\n".encode("utf-8", "surrogatepass"))

    def pages(self, page: BlobPage | None, *, open_store: str) -> Iterator[BlobPage]:
        """The pages that are whole, now that the blobs of ``page`` were added; None after the last one.

        ``open_store`` is the folder of the store that the last blob of the page lies in, "" where that is none.
        """
        if page is not None:
            self._waiting.append((page, open_store))
        while self._waiting and (not open_store or self._waiting[0][1] != open_store):
            yield self._versioned(self._waiting.popleft()[0])
        if not self._waiting:
            self._digests.clear()

    def _versioned(self, page: BlobPage) -> BlobPage:
        if not self._digests:
            return page
        return replace(page, blobs=[self._with_version(blob) for blob in page])

    def _with_version(self, blob: BlobRef) -> BlobRef:
        if not is_store_root(blob.name):
            return blob
        digest = self._digests[store_folder(blob.name)].hexdigest()[:12]
        return replace(blob, etag=f"{blob.own_etag}{STORE_MARK}{digest}")


def _rest(name: str) -> str:
    """The name below the outermost store that it lies in, "" where it lies in none."""
    match = _IN_STORE.search(name) if MARK in name else None
    return match["rest"] if match is not None else ""


def _tells_version(rest: str) -> bool:
    """Whether it is a metadata document or, by its name, a chunk of an array with at most one dimension.

    Such chunks are called ``time/0`` in version 2, ``time/c/0`` and (of none) ``time/c`` in version 3.
    """
    folder, _, last = rest.rpartition("/")
    return last in _DOCUMENTS or last == "c" or (last.isdigit() and not folder.rpartition("/")[2].isdigit())
