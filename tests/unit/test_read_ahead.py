"""One page ahead, in order, and no error lost."""

import threading
from collections.abc import Iterator

import pytest

from geo_assets.storage.blob_store import reading_ahead


def test_pages_come_in_order_and_to_the_end() -> None:
    with reading_ahead(iter(["a", "b", "c"])) as pages:
        assert list(pages) == ["a", "b", "c"]


def test_nothing_to_fetch_is_no_page() -> None:
    with reading_ahead(iter(())) as pages:
        assert list(pages) == []


def test_the_next_page_is_fetched_while_one_is_in_use_but_never_two() -> None:
    fetched: list[int] = []
    second = threading.Event()

    def fetch() -> Iterator[int]:
        for number in range(10):
            fetched.append(number)
            if number == 1:
                second.set()
            yield number

    with reading_ahead(fetch()) as pages:
        assert next(pages) == 0
        assert second.wait(10)
    assert fetched == [0, 1]


def test_an_error_is_raised_where_its_page_would_have_come() -> None:
    def fetch() -> Iterator[int]:
        yield 1
        raise ConnectionError("gone")

    with reading_ahead(fetch()) as pages:
        assert next(pages) == 1
        with pytest.raises(ConnectionError, match="gone"):
            next(pages)
