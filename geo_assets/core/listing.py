"""Which blobs of a container belong to a source, and what a listing tells about the rest.

Here: the globs, the limit, the count of what was passed over. Not here: fetching pages
(`geo_assets.resources`), comparing with the ledger (SQL, since it may be a million rows).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from wcmatch import glob

from geo_assets.models import BlobRef
from geo_assets.sources import Source

_GLOB_FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.CASE | glob.FORCEUNIX


def build_matcher(source: Source) -> Callable[[str], bool]:
    """A predicate on full blob names: below the prefix, matched by an include glob and by no exclude glob."""
    prefix, include, exclude = source.prefix, list(source.include), list(source.exclude)

    def matches(name: str) -> bool:
        if not name.startswith(prefix):
            return False
        path = name[len(prefix) :]
        return glob.globmatch(path, include, flags=_GLOB_FLAGS, exclude=exclude or None)

    return matches


class SourceListing:
    """The pages of a container reduced to one source; after the iteration it knows what was passed over.

    ``complete`` is True only when every page was seen to its end: a listing that stopped at the
    source's limit, or whose iteration was left early, says nothing about the blobs it did not reach.
    """

    def __init__(self, source: Source, pages: Iterable[Sequence[BlobRef]]) -> None:
        self._matches = build_matcher(source)
        self._limit = source.limit
        self._pages = pages
        self.ignored_by_extension: Counter[str] = Counter()
        self.complete = False

    def __iter__(self) -> Iterator[list[BlobRef]]:
        room = self._limit
        for page in self._pages:
            matching = [blob for blob in page if self._matches(blob.name) or self._ignore(blob)]
            if room is not None and len(matching) > room:
                yield matching[:room]
                return
            room = None if room is None else room - len(matching)
            yield matching
        self.complete = True

    @property
    def ignored(self) -> int:
        """How many blobs lie in the container but not in the source."""
        return self.ignored_by_extension.total()

    def _ignore(self, blob: BlobRef) -> bool:
        self.ignored_by_extension[PurePosixPath(blob.name).suffix.lower()[:12] or "(none)"] += 1
        return False
