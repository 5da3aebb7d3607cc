"""Look at single blobs of a container, as exactly as a listing would show them: their sidecars included.

Here: with which requests. A blob's version names its world file and .prj, so one short listing of what has its stem
tells more than a HEAD, and one of a folder tells of many blobs at once. Not here: which names to look at
(`geo_assets.core.event_routing`), what becomes of the answer (`event_observer`).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from geo_assets.core.formats.sidecars import is_sidecar, places_rasters, placing_names, placing_sidecars, with_sidecars
from geo_assets.models import BlobPage, BlobRef
from geo_assets.resources.blob_store import BlobStore

_WORTH_A_LISTING = 16
"""From so many names on they are looked for by one page of a listing of what their names have in common."""

Sights = Mapping[str, Sequence[tuple[str, BlobRef | None]]]
"""By the name that was looked at: the blobs that it tells of, None for one that is not there."""


def group_names(names: Iterable[str]) -> list[list[str]]:
    """The names cut into groups that one request may answer: all of many, else those of one stem."""
    distinct = sorted(set(names))
    return [distinct] if len(distinct) >= _WORTH_A_LISTING else by_stem(distinct)


def look_at(store: BlobStore, names: Sequence[str]) -> tuple[Sights, list[list[str]]]:
    """What the store has of these names, which are one group; and where that was too much to list, smaller groups.

    A name of a sidecar tells of the rasters that it places and are there; any other of the blob itself. Raises what
    `BlobStore.list_pages` and `BlobStore.head` raise.
    """
    prefix = _common_start([_stem(name) for name in names])
    page = next(iter(store.list_pages(prefix)))
    if page.next_marker is None:
        return _sights(names, page), []
    smaller = _split(names)
    if len(smaller) > 1:
        return {}, smaller
    return {name: _look_closely(store, name) for name in names}, []


def _look_closely(store: BlobStore, name: str) -> Sequence[tuple[str, BlobRef | None]]:
    """Where thousands of blobs have one stem: a HEAD for each that matters, and all for a sidecar."""
    if places_rasters(name):
        return _sights([name], BlobPage([blob for page in store.list_pages(_stem(name)) for blob in page]))[name]
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
    """What the names of a blob and of its sidecars begin with."""
    return f"{name.rpartition('.')[0]}." if placing_names(name) else name


def _common_start(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
