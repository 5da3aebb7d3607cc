"""Lengths of time as people write them in sources.yaml.

Here: the one type of such keys. Not here: what they are for.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
_SHORT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


def _interval(value: object) -> object:
    """Read `90s`, `30 min`, `1h`, `2 days`; all else (such as PT1H) is left to pydantic."""
    if isinstance(value, str) and (match := _SHORT.fullmatch(value.strip().lower())):
        number, unit = match.groups()
        name = _UNITS.get(unit, unit if unit.endswith("s") else f"{unit}s")
        if name in _UNITS.values():
            return timedelta(**{name: float(number)})
    return value


Interval = Annotated[timedelta, BeforeValidator(_interval), Field(ge=timedelta(0))]
