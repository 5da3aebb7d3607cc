"""When a queue that did not serve is asked again: its sensor's decision, without Dagster and without a clock.

Here: pauses that double. Not here: whether a source needs a run (`change`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A queue, or the store or database behind it, that did not serve: ``times`` in a row, and what was ``said``.

    Nothing is received from the queue ``until`` then.
    """

    times: int
    until: datetime
    said: str

    def __str__(self) -> str:
        return f"{self.said} Failed {self.times} times in a row; next try at {self.until:%H:%M:%S} UTC."


def next_trouble(last: Trouble | None, said: str, *, now: datetime) -> Trouble:
    """One failure more: pauses of 1, 2, 4 ... 60 seconds."""
    times = 1 if last is None else last.times + 1
    pause = min(FIRST_PAUSE * 2 ** min(times - 1, 10), LONGEST_PAUSE)
    return Trouble(times=times, until=now + pause, said=said)
