"""Lengths of time in words."""

from datetime import timedelta

import pytest

from geo_assets.display import say_duration


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "0 seconds"),
        (timedelta(seconds=1.4), "1 second"),
        (timedelta(minutes=5), "5 minutes"),
        (timedelta(minutes=61, seconds=7), "1 hour 1 minute"),
        (timedelta(days=2, minutes=7), "2 days"),
        (timedelta(days=2, hours=3, minutes=7), "2 days 3 hours"),
        (timedelta(seconds=-5), "0 seconds"),
    ],
)
def test_a_length_is_said_in_its_two_largest_units(length: timedelta, words: str) -> None:
    assert say_duration(length) == words
