"""CF time coordinates as instants.

Here: which variable is a time, and what it spans. Not here: which of a source's rules decides an item's date
(`stac.acquisition`).

Source: CF Conventions 1.11, section 4.4. A time unit that names no zone is UTC by them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import cftime
import numpy as np

from geo_assets.errors import TooLarge
from geo_assets.raster.formats.cf_variables import Array, CfFile, Variable

_SINCE = re.compile(r"^\s*[A-Za-z]+\s+since\s+\S", re.IGNORECASE)
_REAL_CALENDARS = frozenset({"", "standard", "gregorian", "proleptic_gregorian"})
"""The others, such as noleap and 360_day, count days of model years, which are no instants."""


def is_time(variable: Variable) -> bool:
    """Whether it counts time since an instant, by its unit."""
    return bool(variable.data_type and _SINCE.match(variable.text("units")))


def time_range(file: CfFile, variable: Variable) -> tuple[datetime, datetime] | None:
    """First and last instant of a time coordinate in UTC, those of its bounds where it has some.

    None where it is of a model's calendar, has no values, or none that is an instant of years 2 to 9999.
    """
    bounds = file.variables.get(variable.text("bounds"))
    try:
        values = bounds.values() if bounds is not None and bounds.data_type else np.empty(0)
        instants = instants_of(variable, values if values.size else variable.values())
    except TooLarge:
        return None
    return (min(instants), max(instants)) if instants else None


def instants_of(variable: Variable, values: Array) -> list[datetime]:
    """The smallest and the largest of ``values`` as instants in UTC, by the unit and calendar of ``variable``."""
    calendar = variable.text("calendar").lower()
    if not values.size or calendar not in _REAL_CALENDARS:
        return []
    try:
        moments = cftime.num2pydate(
            np.array([values.min(), values.max()]), variable.text("units"), calendar=calendar or "standard"
        )
    except (ValueError, OverflowError):
        return []
    instants = [datetime.fromisoformat(moment.isoformat()).replace(tzinfo=UTC) for moment in moments]
    return instants if all(instant.year > 1 for instant in instants) else []


def attributes_as_tags(attributes: Mapping[str, object]) -> dict[str, str]:
    """Global attributes as text, as GDAL's tags are."""
    return {
        name: value if isinstance(value, str) else " ".join(str(each) for each in np.asarray(value).ravel()[:100])
        for name, value in attributes.items()
    }
