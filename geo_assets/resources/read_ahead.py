"""Fetch the next page while the current one is worked on: listing and merging then take as long as the slower one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Page = TypeVar("Page")


@contextmanager
def reading_ahead(pages: Iterator[Page]) -> Iterator[Iterator[Page]]:
    """The same pages, each fetched in a thread while its predecessor is in use; one page ahead, never more.

    What fetching raises is raised where that page would have come. On leaving, a fetch under way is waited for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        yield _ahead(pages, thread)


def _ahead(pages: Iterator[Page], thread: ThreadPoolExecutor) -> Iterator[Page]:
    following = thread.submit(next, pages, None)
    while (page := following.result()) is not None:
        following = thread.submit(next, pages, None)
        yield page
