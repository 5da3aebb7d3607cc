"""Work in a thread that nothing has to wait for: neither who asked, nor the end of the process.

A thread of an executor is waited for at the end; one that waits for a service that does not answer would hold that up.
Here: starting it, and leaving it once it has been silent for its time. Not here: what follows from that.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], *, name: str) -> "Future[T]":
    """Do ``work`` in a thread of its own; the future has the result."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  raised by who asks the future
            future.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return future


@dataclass
class SilenceLimit:
    """How long work may show nothing before it is left, and since when it has shown nothing by the monotonic clock."""

    seconds: float
    shown_at: float = field(default_factory=time.monotonic)

    def show(self) -> None:
        """Say that there is a result."""
        self.shown_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Since it last showed anything."""
        return time.monotonic() - self.shown_at

    @property
    def is_over(self) -> bool:
        """Whether it has shown nothing for its time."""
        return self.silent_seconds > self.seconds


@dataclass(frozen=True, slots=True, eq=False)
class Errand(Generic[T]):
    """Work under way in a thread, which may show itself by its ``patience``."""

    future: "Future[T]"
    patience: SilenceLimit

    @classmethod
    def begin(cls, work: Callable[[], T], *, name: str, seconds: float) -> Self:
        """Start ``work``, which may be silent for ``seconds``."""
        return cls(start(work, name=name), SilenceLimit(seconds))


E = TypeVar("E", bound=Errand[Any])


def collect(errands: Iterable[E], *, seconds: float, until_first: bool = False) -> tuple[list[E], list[E]]:
    """Wait so long for errands, or for the first to end; those that have ended, and those whose patience is over.

    The latter are left: they go on in their threads, and what they bring is in their futures.
    """
    waiting = list(errands)
    first_or_all = FIRST_COMPLETED if until_first else ALL_COMPLETED
    wait([each.future for each in waiting], timeout=max(0.0, seconds), return_when=first_or_all)
    ended = [each for each in waiting if each.future.done()]
    return ended, [each for each in waiting if each not in ended and each.patience.is_over]
