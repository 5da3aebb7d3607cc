"""A store that failed a batch is asked once before the next, and trusted again when it answers."""

from collections.abc import Callable

import pytest

from geo_assets.errors import Corrupt, StorageUnavailable
from geo_assets.storage.blob_store import CircuitBreaker


def fail(error: Exception) -> Callable[[], None]:
    """Something that raises this."""

    def raise_it() -> None:
        raise error

    return raise_it


class Store:
    """A breaker with a store behind it: what it was asked, and what was reported."""

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()
        self.probe: Callable[[], None] = lambda: None
        self.probes = 0
        self.batches: list[str] = []
        self.reports: list[str] = []

    def batch(self, source: str = "landsat", work: Callable[[], None] = lambda: None) -> None:
        with self.breaker.guard(source, probe=self._probe, report=self.reports.append):
            self.batches.append(source)
            work()

    def _probe(self) -> None:
        self.probes += 1
        self.probe()


@pytest.fixture
def store() -> Store:
    """One whose last batch of `landsat` found it down."""
    store = Store()
    with pytest.raises(StorageUnavailable):
        store.batch(work=fail(StorageUnavailable("503")))
    store.batches.clear()
    return store


def test_while_the_store_is_down_each_batch_asks_it_once_and_tries_nothing_else(store: Store) -> None:
    store.probe = fail(StorageUnavailable("still 503"))
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match=r"this batch was skipped.*still 503"):
            store.batch()
    assert (store.probes, store.batches, store.reports) == (3, [], [])


def test_when_the_store_answers_again_the_batches_go_on_and_ask_no_more(store: Store) -> None:
    store.batch()
    store.batch()
    assert (store.probes, store.batches) == (1, ["landsat", "landsat"])
    assert len(store.reports) == 1
    assert "is available again" in store.reports[0]


def test_another_source_is_not_concerned(store: Store) -> None:
    store.batch("sentinel")
    assert store.probes == 0


def test_other_errors_say_nothing_about_the_store() -> None:
    store = Store()
    with pytest.raises(Corrupt):
        store.batch(work=fail(Corrupt("a bad header")))
    store.batch()
    assert store.probes == 0
