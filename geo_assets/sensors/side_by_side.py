"""Looking at many sources side by side, so that one that does not answer holds up no other, nor the end of a tick.

Here: the threads, and the time that each has. Not here: how a thread is left (`workers.daemon_threads`), what a look is
and what follows from it (`observation`, `blob`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Generic, TypeVar

from geo_assets.errors import StorageUnavailable
from geo_assets.sources.source import Source
from geo_assets.workers.daemon_threads import Errand, Patience, collect, start

AT_ONCE = 6
"""The number of looks that run in parallel: each takes a processor for the answer, and a connection to the database."""
WAITS_AFTER_SECONDS = 1.5
"""A look that shows nothing for so long waits for its store, and another begins beside it."""
LEFT_AFTER_SECONDS = 5.0
"""A look that shows nothing for this long is left; the result in its thread is taken the next time."""
SILENT_AFTER_SECONDS = 20.0
"""A look that has shown nothing for so long by the next time counts as failed."""
MOST_AT_ONCE = 60
_POLL_SECONDS = 0.2

Seen = TypeVar("Seen")


class LookClock(Patience):
    """What a look has to know of time, and shows of itself."""

    def __init__(self, deadline: float) -> None:
        super().__init__(LEFT_AFTER_SECONDS)
        self.deadline = deadline
        """By the monotonic clock: when the look should come to an end, as others wait for theirs."""


Look = Callable[[LookClock], Seen]


@dataclass(frozen=True, slots=True, eq=False)
class _Started(Errand[Seen], Generic[Seen]):
    source: Source

    def outcome(self) -> "Seen | Exception | StillWaiting":
        """What the look gave, or why it gave nothing by now."""
        if not self.future.done():
            silent = self.patience.silent_seconds
            if silent <= SILENT_AFTER_SECONDS:
                return StillWaiting(silent)
            return StorageUnavailable(f"The store did not answer for {silent:.0f} s.")
        error = self.future.exception()
        if error is None:
            return self.future.result()
        if not isinstance(error, Exception):
            raise error
        return error


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """The store of a source has not answered yet, for ``seconds``."""

    seconds: float


class SideBySide:
    """Checks sources; remembers those it left, so that no second thread waits for the same store."""

    def __init__(self) -> None:
        self._left: dict[str, _Started[Any]] = {}

    def forget(self) -> None:
        """Forget what was left: its threads go on, and what they bring is dropped."""
        self._left.clear()

    def look(
        self, sources: Sequence[Source], begin: Callable[[Source], Look[Seen] | None], *, end: float
    ) -> Iterator[tuple[Source, Seen | Exception | StillWaiting]]:
        """``begin`` with each source in this order; of its look what it gave, or the error, as soon as it is there.

        The look itself is done in a thread; None, where there is nothing to look at. A look that is left goes on, and
        is StillWaiting; the next time its source has the result, StorageUnavailable if it stayed silent. No source
        is begun with after ``end``, but for the first: what is not given then waits for another time.
        """
        waiting, started = list(sources), list[_Started[Seen]]()
        while True:
            while waiting and _may_start(started) and (time.monotonic() < end or len(waiting) == len(sources)):
                source = waiting.pop(0)
                look = begin(source)
                earlier = self._left.get(source.name)
                if earlier is not None and (earlier.future.done() or earlier.source != source):
                    self._left.pop(source.name, None)
                if look is None:
                    continue
                if earlier is not None and earlier.source == source:
                    yield source, earlier.outcome()
                    continue
                share = (end - time.monotonic()) / ceil((len(waiting) + 1) / AT_ONCE)
                pace = LookClock(deadline=time.monotonic() + share)
                started.append(_Started(start(partial(look, pace), name="look"), pace, source))
            if not started:
                return
            ended, left = collect(started, seconds=_POLL_SECONDS, until_first=True)
            started = [each for each in started if each not in ended and each not in left]
            for each in left:
                self._left[each.source.name] = each
                yield each.source, StillWaiting(each.patience.silent_seconds)
            for each in ended:
                yield each.source, each.outcome()


def _may_start(started: "Sequence[_Started[Seen]]") -> bool:
    at_work = sum(each.patience.silent_seconds < WAITS_AFTER_SECONDS for each in started)
    return at_work < AT_ONCE and len(started) < MOST_AT_ONCE


side_by_side = SideBySide()
"""This process's own."""
