"""The part of sources.yaml that makes many blobs one item: which belong together, and what each is to the item.

Here: the schema of a source's `group` key. Not here: applying it (`geo_assets.core.scene_members`, `core.scene`).
"""

import re
from typing import Annotated, Literal, Self

import jsonpointer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from geo_assets.item_rules import BandRules

MEMBER_GROUPS = ("item", "asset")
_STATED_BY_OURSELVES = ("geo_assets:", "proj:", "file:", "raster:")
_STATED_BY_RULES = ("datetime", "start_datetime", "end_datetime", "created", "updated")


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


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
"""Where a value stands in a JSON document: a JSON pointer (RFC 6901)."""


class PropertyRule(_Rule):
    """A property of the item from a JSON member: the value at ``path`` of the asset called ``json``.

    ``type`` turns text into a number; ``values`` replaces what the document says by STAC's word for it.
    """

    document: str = Field(alias="json")
    path: Pointer
    type: Literal["number", "integer", "string"] | None = None
    values: dict[str, str | int | float] = {}


class AssetRule(_Rule):
    """What one member is to its item; whatever is not stated is taken from the file, or left out.

    ``key`` renames the asset. ``raster`` says whether its header is read; by default that of .tif, .tiff and .jp2.
    """

    key: str | None = Field(default=None, min_length=1)
    title: str | None = None
    description: str | None = None
    roles: tuple[str, ...] | None = None
    type: str | None = None
    raster: bool | None = None
    bands: BandRules = ()


class GroupRule(_Rule):
    """Which blobs make one item together.

    ``name`` is a regular expression searched for in the path below the prefix; its group ``item`` is the item's id,
    its group ``asset`` the key of the blob's asset. An item waits for the ``required`` assets, and the first raster
    among them gives its footprint and grid.
    """

    name: Annotated[str, AfterValidator(_member_pattern)]
    required: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(min_length=1)
    assets: dict[str, AssetRule] = {}
    properties: dict[str, PropertyRule] = {}
    extensions: tuple[str, ...] = ()

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
                raise ValueError(f"properties.{name} is stated by other rules, or read from the rasters")
        return self
