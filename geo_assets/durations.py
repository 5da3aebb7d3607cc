"""Lengths of time in words, for people."""

from datetime import timedelta

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def say_duration(length: timedelta) -> str:
    """The length in its largest unit and the next: 2 days 3 hours, 5 minutes, 0 seconds."""
    left, words = max(0, round(length.total_seconds())), list[str]()
    for unit, seconds in _UNITS:
        number, left = divmod(left, seconds)
        if number or (unit == "second" and not words):
            words.append(f"{number} {unit}" + ("" if number == 1 else "s"))
        elif words:
            break
        if len(words) == 2:
            break
    return " ".join(words)
