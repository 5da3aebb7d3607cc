"""When what did not serve is asked again, and what is said of it."""

from datetime import UTC, datetime, timedelta

from geo_assets.errors import QueueUnavailable
from geo_assets.sources.trouble import Trouble, next_trouble

NOW = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)


def failed(last: Trouble | None, said: str, *, now: datetime = NOW) -> Trouble:
    error = QueueUnavailable(said, remedy="Start it.")
    return next_trouble(last, error, now=now, first=timedelta(seconds=1), longest=timedelta(minutes=1))


def test_pauses_double_from_the_first_to_the_longest() -> None:
    trouble: Trouble | None = None
    pauses = []
    for _ in range(40):
        trouble = failed(trouble, "away.")
        pauses.append((trouble.until - NOW) / timedelta(seconds=1))
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == 60


def test_a_trouble_says_the_latest_error_how_often_and_when_it_is_asked_again() -> None:
    trouble = failed(failed(None, "first."), "second.", now=NOW + timedelta(seconds=1))
    assert trouble.since == NOW
    assert str(trouble) == (
        "queue_unavailable: second. Remedy: Start it. Failed 2 times in a row; next try at 12:00:03 UTC."
    )
