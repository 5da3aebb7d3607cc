"""Which blobs of a container belong to a source, and what a listing tells about the rest.

Here: the globs, the limit, the count of what was passed over, what lies outside the shards, and that a blob's version
includes those of its sidecars, or of the Zarr store it represents. Not here: which names are sidecars or parts of a
store (`related_blobs`), fetching pages (the stores), comparing with the ledger (SQL, since it may be a million rows).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath

from wcmatch import glob

from geo_assets.errors import GeoAssetsError
from geo_assets.models import BlobPage, BlobRef
from geo_assets.sources.source import Source
from geo_assets.storage.related_blobs import (
    MARK,
    StoreVersions,
    asset_name,
    awaits_sidecars,
    is_sidecar,
    is_store_part,
    placing_sidecars,
    store_folder,
    with_sidecars,
)

_GLOB_FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.CASE | glob.FORCEUNIX
_DOTS = re.compile(r"(?<![^/])\.\.?(?![^/])")
"""A folder or file called ``.`` or ``..``: a blob may have such a name, but no wildcard of a glob matches it."""
MOST_EXTENSIONS = 100
OTHER_EXTENSIONS = "(others)"
SIDECARS = "(sidecars)"
STORE_PARTS = "(in Zarr stores)"


def build_matcher(source: Source) -> Callable[[str], bool]:
    """A predicate on full blob names: below the prefix, matched by include and not by exclude, no sidecar or chunk.

    Globs may name the blob that represents a Zarr store (``**/*.zarr/zarr.json``) or its folder (``**/*.zarr``).
    """
    prefix, start = source.prefix, len(source.prefix)
    included = _compile(source.include).fullmatch
    excluded = _compile(source.exclude).fullmatch if source.exclude else None

    def chosen(*spellings: str) -> bool:
        if any("./" in each or each.endswith(".") for each in spellings):
            spellings += tuple(_DOTS.sub("dots", each) for each in spellings)
        return any(map(included, spellings)) and not (excluded is not None and any(map(excluded, spellings)))

    def matches(name: str) -> bool:
        if not name.startswith(prefix):
            return False
        path = name[start:]
        if MARK in name and store_folder(name):
            return not is_store_part(name) and chosen(path, asset_name(name)[start:])
        return chosen(path) and not is_sidecar(path)

    return matches


def timed_pages(pages: Iterable[BlobPage], now: Callable[[], datetime]) -> Iterator[BlobPage]:
    """The same pages, each with the time at which it was asked for: what happened later it need not know."""
    asking = iter(pages)
    while True:
        asked_at = now()
        page = next(asking, None)
        if page is None:
            return
        yield replace(page, asked_at=asked_at)


class SourceListing:
    """The pages of a container reduced to one source; after the iteration it knows what was passed over.

    ``complete`` is True only when every page was seen to its end: a listing that stopped at the
    source's limit, or whose iteration was left early, says nothing about the blobs it did not reach.
    ``listed`` and ``ignored`` are what was seen before ``pages`` begin, where a listing goes on after ``marker``. The
    store takes `page_marker` of the markers given here.
    """

    def __init__(
        self,
        source: Source,
        pages: Iterable[BlobPage],
        *,
        listed: int = 0,
        ignored: Counter[str] | None = None,
        marker: str | None = None,
    ) -> None:
        self._matches = build_matcher(source)
        self._room = None if source.limit is None else source.limit - listed
        self._pages = pages
        self.ignored_by_extension: Counter[str] = Counter(ignored)
        self.complete = False
        self._stores = StoreVersions(marker)

    def __iter__(self) -> Iterator[BlobPage]:
        room = self._room
        pages = iter(self._pages)
        page = next(pages, None)
        before: dict[str, str] = {}
        here = placing_sidecars(page)
        asked_before = None
        while page is not None:
            # The versions of a page are as old as the page its sidecars came with.
            asked_at, asked_before = asked_before if before else page.asked_at, page.asked_at
            matching = self._choose(page)
            if room is not None and len(matching) > room:
                yield BlobPage(with_sidecars(matching[:room], before | here), asked_at=asked_at)
                return
            room = None if room is None else room - len(matching)
            following, failure = None, None
            if looks_ahead := bool(here) or awaits_sidecars(page):
                try:
                    following = next(pages, None)
                except GeoAssetsError as error:  # after this page, which was seen
                    failure = error
            after = placing_sidecars(following)
            marker = self._stores.marker(page.next_marker) if page.next_marker is not None else None
            yield BlobPage(with_sidecars(matching, before | here | after), marker, asked_at)
            if failure is not None:
                raise failure
            if not looks_ahead:
                following = next(pages, None)
                after = placing_sidecars(following)
            page, before, here = following, here, after
        self.complete = True

    @property
    def ignored(self) -> int:
        """How many blobs lie in the container but not in the source."""
        return self.ignored_by_extension.total()

    @property
    def sidecars(self) -> int:
        """How many of them belong to another blob: overviews, masks, world files and the like."""
        return self.ignored_by_extension[SIDECARS]

    def _choose(self, page: BlobPage) -> list[BlobRef]:
        """The blobs of a page that belong to the source; the blob that represents a Zarr store where that ends."""
        chosen: list[BlobRef] = []
        is_within = True  # as may be since the page before
        for blob in page:
            takes = self._matches(blob.name) or self._ignore(blob)
            if MARK in blob.name and store_folder(blob.name):
                chosen += self._stores.add(blob, is_chosen=takes)
                is_within = True
                continue
            if is_within and not self._stores.goes_on_after(blob):
                chosen += self._stores.end()
                is_within = False
            if takes:
                chosen.append(blob)
        if page.next_marker is None:
            chosen += self._stores.end()
        return chosen

    def _ignore(self, blob: BlobRef) -> bool:
        if is_sidecar(blob.name) or is_store_part(blob.name):
            self.ignored_by_extension[STORE_PARTS if is_store_part(blob.name) else SIDECARS] += 1
            return False
        extension = PurePosixPath(blob.name).suffix.lower()[:12] or "(none)"
        if extension not in self.ignored_by_extension and len(self.ignored_by_extension) >= MOST_EXTENSIONS:
            extension = OTHER_EXTENSIONS
        self.ignored_by_extension[extension] += 1
        return False


def outside_shards(source: Source, list_level: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Names of blobs, and of folders with a slash at the end, that lie in no shard of the source.

    ``list_level`` gives the names one level below a prefix. Only folders that lead to a shard are looked into.
    """
    shards = [source.prefix + shard for shard in source.shards]

    def look(path: str) -> Iterator[str]:
        for name in list_level(path):
            if any(name.startswith(shard) for shard in shards):
                continue
            if name.endswith("/") and any(shard.startswith(name) for shard in shards):
                yield from look(name)
            else:
                yield name

    return look(source.prefix)


def _compile(globs: Iterable[str]) -> re.Pattern[str]:
    """One regular expression for all of the globs: matching them one by one takes most of a listing's time."""
    patterns, _ = glob.translate(list(globs), flags=_GLOB_FLAGS)
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")
