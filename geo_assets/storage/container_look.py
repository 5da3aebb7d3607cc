"""Look at single blobs of a container, as exactly as a listing would show them: their sidecars and stores included.

Here: with which requests, and how many at most. A blob's version names its world file and .prj, so one short listing
of what has its stem shows more than a HEAD, and one of a folder shows many blobs at once; that of a Zarr store takes
all of its folder. Not here: which names to look at (`geo_assets.events.looks`), in which threads, and what of a
store that fails (`events.looks`).
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from geo_assets.models import BlobPage, BlobRef
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.related_blobs import (
    StoreVersions,
    is_sidecar,
    is_store_root,
    places_rasters,
    placing_names,
    placing_sidecars,
    store_folder,
    with_sidecars,
)

_WORTH_A_LISTING = 16
"""From this many names on, one page of a listing of what their names have in common looks for them."""

MOST_PAGES = 20
"""Pages of a Zarr store that are listed for a look, 100,000 blobs: more is for a run, which has the time."""

Sights = Mapping[str, Sequence[tuple[str, BlobRef | None]]]
"""By the name that was looked at: the blobs that it concerns, None for one that is not there."""


class TooMuchForALook(Exception):
    """What has to be listed for a look is more than `MOST_PAGES`, or took too long: a listing of the source has it."""


def group_names(names: Iterable[str]) -> list[list[str]]:
    """The names cut into groups that one request may answer: all of many, else those of one stem; those of a store."""
    distinct = sorted(set(names))
    in_stores = [name for name in distinct if store_folder(name)]
    alone = [name for name in distinct if not store_folder(name)]
    return by_stem(in_stores) + ([alone] if len(alone) >= _WORTH_A_LISTING else by_stem(alone))


def look_at(store: BlobStore, names: Sequence[str], *, until: float = math.inf) -> tuple[Sights, list[list[str]]]:
    """What the store has of these names, which are one group; and where that was too much to list, smaller groups.

    A sidecar's name concerns the rasters that it places and that exist, one in a Zarr store the blob that represents
    the store; any other the blob itself. Raises TooMuchForALook, for what takes more than `MOST_PAGES` pages or until
    that moment of the monotonic clock, and what `BlobStore.list_pages` and `BlobStore.head` raise.
    """
    if folder := store_folder(names[0]):
        return _look_at_store(store, f"{folder}/", names, until), []
    prefix = _common_start([_stem(name) for name in names])
    page = next(iter(store.list_pages(prefix)))
    if page.next_marker is None:
        return _sights(names, page), []
    smaller = _split(names)
    if len(smaller) > 1:
        return {}, smaller
    return {name: _look_closely(store, name, until) for name in names}, []


def _pages(store: BlobStore, prefix: str, until: float) -> Iterator[BlobPage]:
    """All pages there are, while they are not too many."""
    for number, page in enumerate(store.list_pages(prefix), start=1):
        yield page
        if page.next_marker is not None and (number >= MOST_PAGES or time.monotonic() > until):
            raise TooMuchForALook


def _look_at_store(store: BlobStore, prefix: str, names: Sequence[str], until: float) -> Sights:
    versions = StoreVersions(None)
    for page in _pages(store, prefix, until):
        for blob in page:
            if store_folder(blob.name):
                versions.add(blob, is_chosen=is_store_root(blob.name))
    found: list[tuple[str, BlobRef | None]] = [(root.name, root) for root in versions.end()]
    there = {name for name, _ in found}
    gone: list[tuple[str, BlobRef | None]] = [
        (name, None) for name in names if is_store_root(name) and name not in there
    ]
    return {name: found + [each for each in gone if each[0] == name] for name in names}


def _look_closely(store: BlobStore, name: str, until: float) -> Sequence[tuple[str, BlobRef | None]]:
    """Where thousands of blobs have one stem: a HEAD for each that matters, and all for a sidecar."""
    if places_rasters(name):
        return _sights([name], BlobPage([blob for page in _pages(store, _stem(name), until) for blob in page]))[name]
    blob = store.head(name)
    if blob is None:
        return [(name, None)]
    beside = [sidecar for sidecar in map(store.head, placing_names(name)) if sidecar is not None]
    return [(name, with_sidecars([blob], {sidecar.name: sidecar.etag for sidecar in beside})[0])]


def _sights(names: Sequence[str], page: BlobPage) -> Sights:
    blobs = {blob.name: blob for blob in with_sidecars(page.blobs, placing_sidecars(page))}
    placed: dict[str, list[tuple[str, BlobRef | None]]] = {name: [] for name in names if places_rasters(name)}
    if placed:
        for blob in (blob for blob in blobs.values() if not is_sidecar(blob.name)):
            for sidecar in placed.keys() & set(placing_names(blob.name)):
                placed[sidecar].append((blob.name, blob))
    return {name: placed[name] if name in placed else [(name, blobs.get(name))] for name in names}


def _split(names: Sequence[str]) -> list[list[str]]:
    """The many of one folder stay together, if that is not what they were."""
    folders = [list(together) for _, together in groupby(sorted(names, key=_folder), key=_folder)]
    if len(folders) == 1:
        return by_stem(names)
    return [
        group
        for together in folders
        for group in ([together] if len(together) >= _WORTH_A_LISTING else by_stem(together))
    ]


def by_stem(names: Iterable[str]) -> list[list[str]]:
    """The names in the smallest groups there are: a blob and its sidecars."""
    return [list(same) for _, same in groupby(sorted(names, key=_stem), key=_stem)]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _stem(name: str) -> str:
    """What the names of a blob and of its sidecars, or of all in a Zarr store, begin with."""
    if folder := store_folder(name):
        return f"{folder}/"
    return f"{name.rpartition('.')[0]}." if placing_names(name) else name


def _common_start(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
