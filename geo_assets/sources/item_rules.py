"""What a source's owner states about items: `bands`, `group` (many blobs, one item) and `datetime` in sources.yaml.

Here: the schema of these keys: what files do not say of bands, which blobs belong together and what each is to the
item, and where a datetime comes from. Not here: the source itself (`geo_assets.sources.source`), and applying the rules
(`geo_assets.raster.bands`, `geo_assets.stac.scene`, `geo_assets.stac.acquisition`).
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import jsonpointer
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from geo_assets.sources.rules import Names, OneOrMore, Rule

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BandRule(Rule):
    """One band, as the source's owner knows it; what you set here wins over what the file says."""

    name: str | None = Field(default=None, min_length=1)
    """Its name, which no other band has."""
    description: str | None = Field(default=None, min_length=1)
    """What it shows."""
    unit: str | None = Field(default=None, min_length=1)
    """The unit of its values."""
    gsd: Positive | None = None
    """Its ground sample distance in metres."""
    common_name: str | None = Field(default=None, min_length=1)
    """One of STAC's eo extension: red, nir, ..."""
    center_wavelength: Positive | None = None
    """In micrometres."""
    full_width_half_max: Positive | None = None
    """In micrometres."""
    solar_illumination: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """In W/m2/um."""


def _distinct(bands: tuple[BandRule, ...]) -> tuple[BandRule, ...]:
    names = [band.name for band in bands if band.name is not None]
    if len(set(names)) < len(names):
        raise ValueError("two bands have the same name: a name tells the bands of an item apart")
    return bands


BandRules = Annotated[tuple[BandRule, ...], AfterValidator(_distinct)]


MEMBER_GROUPS = ("item", "asset")
_STATED_BY_OURSELVES = ("geo_assets:", "proj:", "file:", "raster:")
_STATED_BY_RULES = ("datetime", "start_datetime", "end_datetime", "created", "updated")


def _pointer(path: str) -> str:
    try:
        jsonpointer.JsonPointer(path)
    except jsonpointer.JsonPointerException as error:
        raise ValueError(f"{path!r} is no JSON pointer (RFC 6901), such as /a/b: {error}") from error
    return path


def _member_pattern(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if missing := [name for name in MEMBER_GROUPS if name not in compiled.groupindex]:
        raise ValueError(f"the regular expression needs the named group(s) {', '.join(missing)}: (?P<item>...)")
    return pattern


Pointer = Annotated[str, AfterValidator(_pointer)]
"""The place of a value in a JSON document: a JSON pointer (RFC 6901)."""


class PropertyRule(Rule):
    """A property of the item from a JSON member of the scene."""

    document: str = Field(alias="json")
    """The asset that the member is."""
    path: Pointer
    """The place of the value in it: a JSON pointer (RFC 6901)."""
    type: Literal["number", "integer", "string"] | None = None
    """What text is turned into."""
    values: dict[str, str | int | float] = Field(default={})
    """What is said in place of what the document says, such as STAC's word for it."""


class AssetRule(Rule):
    """What one member is to its item; whatever is not stated is taken from the file, or left out."""

    key: str | None = Field(default=None, min_length=1)
    """Another name of the asset in the item."""
    title: str | None = None
    """Its title for people."""
    description: str | None = None
    """What it is."""
    roles: tuple[str, ...] | None = None
    """STAC's words for what it is for: data, thumbnail, metadata, ..."""
    type: str | None = None
    """Its media type."""
    raster: bool | None = None
    """Whether its header is read; by default that of .tif, .tiff and .jp2."""
    bands: BandRules = ()
    """What its bands are, in the file's order."""


class GroupRule(Rule):
    """Which blobs make one item together (docs/guides/scenes.md)."""

    name: Annotated[str, AfterValidator(_member_pattern)]
    """A regular expression searched for in the path below the prefix; its group `item` is the item's id, its group
    `asset` the key of the blob's asset."""
    required: Names = Field(min_length=1)
    """Assets the item waits for. The first raster of them gives its footprint, its grid, and a date by tag or name."""
    assets: dict[str, AssetRule] = Field(default={})
    """By asset: what its file does not say."""
    properties: dict[str, PropertyRule] = Field(default={})
    """By property of the item: which JSON member has it."""
    extensions: tuple[str, ...] = ()
    """Schemas that items list beside those of the fields they are seen to use."""

    def __hash__(self) -> int:
        """Sources are keys of caches, and the dicts in here have no hash of their own."""
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.required)) < len(self.required):
            raise ValueError("required names an asset twice")
        keys = [rule.key or name for name, rule in self.assets.items()]
        if len(set(keys)) < len(keys):
            raise ValueError("two of the assets have one key")
        for name in self.properties:
            if name in _STATED_BY_RULES or name.startswith(_STATED_BY_OURSELVES):
                raise ValueError(f"properties.{name} is stated by other keys, or read from the rasters")
        return self


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
