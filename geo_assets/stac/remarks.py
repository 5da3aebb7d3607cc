"""What an item says that neither its blob nor a rule does: how often it was overwritten, a former name, a COG, a patch.

Here: putting into an item what the ledger knows of its blob beyond the present version. Not here: telling that a blob
was renamed or overwritten (`geo_assets.resources`), what a patch may say (`item_patch`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geo_assets.errors import InvalidItem
from geo_assets.stac.cog_assets import COG, cog_assets, is_same_grid
from geo_assets.stac.extensions import with_extensions_used
from geo_assets.stac.item_patch import PATCHED, apply_patch
from geo_assets.stac.item_schemas import ItemValidator

FORMER_NAME = "geo_assets:renamed_from"
PREVIOUS_ETAG = "geo_assets:previous_etag"

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the ledger knows of a blob beyond its present version, whose ordinal is ``versions_seen``.

    ``cog`` is that of this version: href, thumbnail_href, size_bytes, is_linked, made_at, and facts (`MadeCog`).
    ``patch_revision`` counts the changes of all that is said here.
    """

    versions_seen: int = 1
    previous_etag: str | None = None
    former_name: str | None = None
    patch: Mapping[str, Any] | None = None
    cog: Mapping[str, Any] | None = None
    patch_revision: int = 0


NOTHING = Remarks()


def with_remarks(item: Item, remarks: Remarks) -> Item:
    """The item of one blob with what ``remarks`` says of it."""
    former = {FORMER_NAME: remarks.former_name} if remarks.former_name is not None else {}
    if stated := {**_version(remarks), **former}:
        item = with_extensions_used({**item, "properties": {**item["properties"], **stated}})
    if remarks.cog is not None:
        item = _with_cog(item, remarks.cog)
    return item if remarks.patch is None else apply_patch(item, remarks.patch)


def scene_with_remarks(item: Item, remarks: Mapping[str, Remarks]) -> Item:
    """The item of a scene with what ``remarks`` says of its members, by blob name.

    How often a blob was overwritten is said of its asset: a scene also changes as members come and go.
    """
    if not remarks:
        return item
    assets = {
        key: {**asset, **_version(remarks.get(asset["geo_assets:blob"], NOTHING))}
        for key, asset in item["assets"].items()
    }
    for key, asset in item["assets"].items():
        cog = remarks.get(asset["geo_assets:blob"], NOTHING).cog
        for kind, made in cog_assets(asset, cog).items() if cog is not None else ():
            assets[f"{key}_{kind}"] = made
    item = with_extensions_used({**item, "assets": assets})
    patch = next((member.patch for member in remarks.values() if member.patch is not None), None)
    return item if patch is None else apply_patch(item, patch)


def check_item(item: Item, validator: ItemValidator) -> None:
    """Raise InvalidItem unless ``item`` is valid; where it is patched, the remedy names the patch."""
    try:
        validator.check(item)
    except InvalidItem as error:
        if PATCHED not in item["properties"]:
            raise
        remedy = f"{error.remedy} It is patched: `geo-assets items patches {item['properties']['geo_assets:source']}`."
        raise InvalidItem(error.message, remedy=remedy) from None


def _with_cog(item: Item, cog: Mapping[str, Any]) -> Item:
    """The item with the assets of its COG, and drawn from that where it has the raster's own grid and bands."""
    assets = {**item["assets"], **cog_assets(item["assets"]["data"], cog)}
    properties = dict(item["properties"])
    if "renders" in properties and is_same_grid(cog):
        properties["renders"] = {name: {**render, "assets": [COG]} for name, render in properties["renders"].items()}
    return with_extensions_used({**item, "properties": properties, "assets": assets})


def _version(remarks: Remarks) -> Item:
    """Nothing of a blob that was never overwritten while somebody watched."""
    if remarks.versions_seen < 2:
        return {}
    return {"version": str(remarks.versions_seen), PREVIOUS_ETAG: remarks.previous_etag}
