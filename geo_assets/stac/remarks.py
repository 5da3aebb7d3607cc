"""What an item says that neither its blob nor a rule does: how often it was overwritten, a former name, a COG, a patch.

Here: putting into an item what the ledger knows of its blob beyond the present version, and the assets of a COG and its
thumbnail. Not here: telling that a blob was renamed or overwritten (`geo_assets.ledger`), what a patch may say
(`item_patch`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geo_assets.display import rfc3339
from geo_assets.errors import InvalidItem
from geo_assets.raster.sniff import COG as COG_MEDIA_TYPE
from geo_assets.stac.extensions import with_extensions_used
from geo_assets.stac.item_patch import PATCHED, apply_patch
from geo_assets.stac.schemas import ItemValidator

COG, THUMBNAIL = "cog", "thumbnail"
_OF_THE_FILE = ("updated", "file:size", "file:checksum", "file:byte_order", "file:header_size", "href", "type")
"""What is said of the raster's own file and not of what is in it."""


def cog_assets(data: Mapping[str, Any], cog: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Assets by key, of the COG ``cog`` (as `Remarks.cog`) of the raster whose asset is ``data``.

    A COG that is the raster itself has the same address. Of one with pixels of its own, its grid is said.
    """
    if cog["is_linked"]:
        return {COG: {**data, "title": "Cloud Optimized GeoTIFF: the file itself"}}
    facts = cog["facts"]
    bands = data.get("bands", [])
    asset = {
        **{name: value for name, value in data.items() if name not in (*_OF_THE_FILE, "bands", "storage:refs")},
        "href": cog["href"],
        "title": "Cloud Optimized GeoTIFF",
        "type": COG_MEDIA_TYPE,
        "roles": ["data"],
        "updated": rfc3339(datetime.fromisoformat(cog["made_at"]).astimezone(UTC)),
        "file:size": cog["size_bytes"],
    }
    if bands:
        asset["bands"] = [bands[number - 1] for number in facts["bands"]]
    if facts["grid"] is not None:
        asset |= facts["grid"]
        asset.pop("raster:spatial_resolution", None)
    assets = {COG: asset}
    if cog["thumbnail_href"]:
        assets[THUMBNAIL] = {
            "href": cog["thumbnail_href"],
            "title": "Thumbnail",
            "type": "image/png",
            "roles": ["thumbnail"],
        }
    return assets


def is_same_grid(cog: Mapping[str, Any]) -> bool:
    """Whether bands and grid of the COG are the raster's own, so that renders of the one hold for the other."""
    facts = cog["facts"]
    return bool(cog["is_linked"]) or (facts["grid"] is None and facts["all_bands"])


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
    """Nothing of a blob that was never seen to be overwritten."""
    if remarks.versions_seen < 2:
        return {}
    return {"version": str(remarks.versions_seen), PREVIOUS_ETAG: remarks.previous_etag}
