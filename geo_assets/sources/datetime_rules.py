"""Where an item's datetime comes from: the key `datetime` of a source in sources.yaml.

Here: the schema of that key. Not here: finding a datetime by it (`geo_assets.stac.acquisition`).
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from geo_assets.sources.rule import Names, OneOrMore, Rule
from geo_assets.sources.scene_rules import Pointer


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # KeyError: ZoneInfoNotFoundError; OSError: a folder of zones
        raise ValueError(f"{name!r} is no time zone of the IANA database, such as Europe/Berlin") from error
    return name


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a fixed datetime needs a time zone, for example 2020-01-01T00:00:00Z")
    return moment.astimezone(UTC)


Zone = Annotated[str, AfterValidator(_known_zone)]


class MetadataDatetime(Rule):
    """Take the datetime from the first of these GDAL tags that is present and parses."""

    metadata: Names = Field(min_length=1)
    """`NAME` of the default domain, or `DOMAIN:NAME`."""
    format: str | None = None
    """The tag's form for strptime; without, ISO 8601 and the forms in docs/guides/formats.md are read."""
    timezone: Zone = "UTC"
    """For a tag without an offset: a name of the IANA database."""


class NameDatetime(Rule):
    """Take the datetime from the blob's name."""

    name: str
    """A regular expression with a group `date`, searched for in the blob's whole name: `_(?P<date>\\d{8})_`."""
    format: str
    """The group's form for strptime, such as `%Y%m%d`."""
    timezone: Zone = "UTC"
    """For a name without an offset."""

    @model_validator(mode="after")
    def _has_date_group(self) -> Self:
        try:
            pattern = re.compile(self.name)
        except re.error as error:
            raise ValueError(f"name is not a regular expression: {error}") from error
        if "date" not in pattern.groupindex:
            raise ValueError("the regular expression needs a named group, (?P<date>...)")
        return self


class FixedDatetime(Rule):
    """The same datetime for every blob: a statement of the source's owner."""

    fixed: Annotated[datetime, AfterValidator(_aware)]
    """With a time zone: `2020-01-01T00:00:00Z`."""


class LastModifiedDatetime(Rule):
    """When the blob was uploaded, which the owner says is good enough. `last_modified` alone may stand for it."""

    last_modified: Literal[True]
    """The blob's Last-Modified."""


class RangeDatetime(Rule):
    """Take a range from two of GDAL's tags; its start is the `datetime` too."""

    start: Names = Field(min_length=1)
    """Tags as those of `metadata`: the first that is present and parses."""
    end: Names = Field(min_length=1)
    """Likewise, of the range's end."""
    format: str | None = None
    """The form of both for strptime."""
    timezone: Zone = "UTC"
    """For tags without an offset."""


class JsonDatetime(Rule):
    """Take the datetime from a JSON member of a scene."""

    document: str = Field(alias="json")
    """The asset that the member is, such as `MTL.json`."""
    path: Annotated[tuple[Pointer, ...], OneOrMore] = Field(min_length=1)
    """A JSON pointer (RFC 6901) into it; several, as of a date and a time, are joined by T."""
    format: str | None = None
    """The form of what is found, for strptime."""
    timezone: Zone = "UTC"
    """For values without an offset."""


class TimeDimensionDatetime(Rule):
    """What the time coordinate of a NetCDF or Zarr file spans. `time_dimension` alone may stand for it."""

    time_dimension: Literal[True]
    """An instant or a range."""


DatetimeRule = (
    MetadataDatetime
    | NameDatetime
    | JsonDatetime
    | FixedDatetime
    | LastModifiedDatetime
    | RangeDatetime
    | TimeDimensionDatetime
)
_BY_KEY: dict[str, type[Rule]] = {
    "metadata": MetadataDatetime,
    "name": NameDatetime,
    "json": JsonDatetime,
    "fixed": FixedDatetime,
    "last_modified": LastModifiedDatetime,
    "start": RangeDatetime,
    "time_dimension": TimeDimensionDatetime,
}


def _datetime_rule(value: object) -> object:
    """Choose the rule by its key, so that an error speaks of that rule and not of all."""
    if value == "last_modified":
        return LastModifiedDatetime(last_modified=True)
    if value == "time_dimension":
        return TimeDimensionDatetime(time_dimension=True)
    if not isinstance(value, dict):
        return value
    keys = [key for key in _BY_KEY if key in value]
    if len(keys) != 1:
        raise ValueError(f"a datetime rule has exactly one of {', '.join(_BY_KEY)}")
    return _BY_KEY[keys[0]].model_validate(value)


DatetimeRules = tuple[Annotated[DatetimeRule, BeforeValidator(_datetime_rule)], ...]
