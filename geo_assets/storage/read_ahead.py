"""Fetch the next page while the current one is worked on: listing and merging then take as long as the slower one."""

from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from geo_assets.workers.daemon_threads import start

Page = TypeVar("Page")


@contextmanager
def reading_ahead(pages: Iterator[Page]) -> Iterator[Iterator[Page]]:
    """The same pages, each fetched in a thread while its predecessor is in use; one page ahead, never more.

    What fetching raises is raised where that page would have come. On leaving, a fetch under way is waited for.
    """
    ahead = _Ahead(pages)
    try:
        yield iter(ahead)
    finally:
        wait([ahead.following])


class _Ahead(Generic[Page]):
    def __init__(self, pages: Iterator[Page]) -> None:
        self._fetch = partial(next, pages, None)
        self.following: Future[Page | None] = start(self._fetch, name="read-ahead")

    def __iter__(self) -> Iterator[Page]:
        while (page := self.following.result()) is not None:
            self.following = start(self._fetch, name="read-ahead")
            yield page
