"""When a queue that did not serve is asked again."""

from datetime import UTC, datetime, timedelta

from geo_assets.core.queue_watch import Trouble, next_trouble

NOW = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)


def test_pauses_double_from_a_second_to_a_minute() -> None:
    trouble: Trouble | None = None
    pauses = []
    for _ in range(40):
        trouble = next_trouble(trouble, "queue_unavailable: away.", now=NOW)
        pauses.append((trouble.until - NOW) / timedelta(seconds=1))
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == 60


def test_a_trouble_says_what_it_is_how_often_and_when_the_queue_is_asked_again() -> None:
    trouble = next_trouble(next_trouble(None, "first.", now=NOW), "second.", now=NOW)
    assert str(trouble) == "second. Failed 2 times in a row; next try at 12:00:02 UTC."
