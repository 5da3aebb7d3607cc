"""A source or a queue that is unavailable: since when, why, and when it is asked again. Without Dagster or a clock.

Here: what is remembered of it, and pauses that double. Not here: where it is kept (a queue's in its sensor's cursor, a
source's in the ledger), whether a source needs a run (`change`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from geo_assets.errors import GeoAssetsError


@dataclass(frozen=True, slots=True)
class Trouble:
    """What did not serve ``times`` in a row ``since`` then, itself or what lies behind it, and is not asked ``until``.

    ``code``, ``message`` and ``remedy`` are the latest error's.
    """

    since: datetime
    times: int
    until: datetime
    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        remedy = f" Remedy: {self.remedy}" if self.remedy else ""
        return (
            f"{self.code}: {self.message}{remedy} "
            f"Failed {self.times} times in a row; next try at {self.until:%H:%M:%S} UTC."
        )


def next_trouble(
    last: Trouble | None, error: GeoAssetsError, *, now: datetime, first: timedelta, longest: timedelta
) -> Trouble:
    """One failure more: the pause is ``first``, then twice as long each time, at most ``longest``."""
    times = 1 if last is None else last.times + 1
    return Trouble(
        since=now if last is None else last.since,
        times=times,
        until=now + min(first * 2 ** min(times - 1, 10), longest),
        code=error.code,
        message=error.message,
        remedy=error.remedy,
    )
