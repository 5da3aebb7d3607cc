"""The part of sources.yaml that makes many blobs one item: which belong together, and what each is to the item.

Here: the schema of a source's `group` key. Not here: applying it (`geo_assets.stac.scene_members`, `stac.scene`).
"""

import re
from typing import Annotated, Literal, Self

import jsonpointer
from pydantic import AfterValidator, Field, model_validator

from geo_assets.sources.item_rules import BandRules
from geo_assets.sources.rule import Names, Rule

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
