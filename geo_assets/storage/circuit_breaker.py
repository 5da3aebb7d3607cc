"""Sources whose store failed a batch in this process: before the next batch it is asked once, and not for every blob.

Here: remembering which. Each process does so for itself, because a store may be away from one host only. Not here:
when a store counts as down within a batch (`raster.reader`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from geo_assets.errors import StorageUnavailable


class CircuitBreaker:
    """Open for the sources whose last batch ended because their store was down."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    @contextmanager
    def guard(self, source: str, *, probe: Callable[[], object], report: Callable[[str], None]) -> Iterator[None]:
        """Do the block, which is one batch of ``source``; where the batch before failed, ``probe`` the store first.

        Raises what ``probe`` raises, before the block. A store that answers is reported and trusted again.
        """
        if source in self._open:
            try:
                probe()
            except StorageUnavailable as error:
                raise StorageUnavailable(
                    f"Storage of source `{source}` is still unavailable; this batch was skipped. {error.message}",
                    remedy="Check the storage account; the next run retries.",
                ) from error
            self._open.discard(source)
            report(f"Storage of source `{source}` is available again.")
        try:
            yield
        except StorageUnavailable:
            self._open.add(source)
            raise


circuit_breaker = CircuitBreaker()
"""This process's own."""
