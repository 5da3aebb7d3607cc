"""A scene: many blobs, one STAC item.

Here: the membership that a blob's name states by a source's group rule; putting the items that a scene's rasters would
be together, what the rule states, and the few values of JSON documents (of bounded size, by RFC 6901 pointers) that it
asks for. Not here: the rule's schema (`geo_assets.sources.item_rules`), the item of one raster (`item`), which scenes
are complete (SQL: `ledger.blob_state`), fetching documents.
"""

import hashlib
import json
import math
import mimetypes
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import jsonpointer

from geo_assets.errors import Corrupt, InvalidItem, MissingDatetime, NoFootprint, TooLarge
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.names import item_id
from geo_assets.raster.footprint import known_footprint
from geo_assets.raster.header import clean_text
from geo_assets.sources.item_rules import AssetRule, FixedDatetime, GroupRule, JsonDatetime, PropertyRule
from geo_assets.sources.source import Source
from geo_assets.stac.acquisition import item_datetime
from geo_assets.stac.extensions import extensions_used
from geo_assets.stac.item import build_item
from geo_assets.storage.related_blobs import asset_name

MemberKind = Literal["raster", "document", "other"]
"""How a member is read: its header, values of its JSON, or not at all."""

_RASTER_EXTENSIONS = (".tif", ".tiff", ".jp2")
_NO_RULE = AssetRule()


@dataclass(frozen=True, slots=True)
class Membership:
    """To which scene a blob belongs, as which asset; ``asset`` is what the name says, before any rule renames it."""

    scene_id: str
    asset: str
    kind: MemberKind


@dataclass(frozen=True, slots=True)
class SceneMember:
    """One blob of a scene, with what was read of it."""

    blob: BlobRef
    asset: str
    metadata: RasterMetadata | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """The members of one item, one an asset; ``surplus`` are blobs whose asset another member is already."""

    id: str
    members: tuple[SceneMember, ...]
    surplus: tuple[SceneMember, ...] = ()

    @classmethod
    def of(cls, scene_id: str, members: Sequence[SceneMember]) -> "Scene":
        """The scene of ``members``; of two with one asset the first counts."""
        first: dict[str, SceneMember] = {}
        for member in members:
            first.setdefault(member.asset, member)
        return cls(
            id=scene_id,
            members=tuple(sorted(first.values(), key=lambda member: member.asset)),
            surplus=tuple(member for member in members if first[member.asset] is not member),
        )

    @property
    def version(self) -> BlobRef:
        """The scene as if it were one blob: its etag is the digest of its members' assets, names and etags."""
        lines = "\n".join(f"{member.asset}\t{member.blob.name}\t{member.blob.etag}" for member in self.members)
        return BlobRef(
            name=self.id,
            etag=hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()[:32],
            size_bytes=sum(member.blob.size_bytes for member in self.members),
            last_modified=max(member.blob.last_modified for member in self.members),
        )

    @property
    def documents(self) -> dict[str, Mapping[str, Any]]:
        """What was read of the JSON members, by asset."""
        return {member.asset: member.document for member in self.members}


def membership(source: Source, blob_name: str) -> Membership | None:
    """What the name of a blob says of its scene; None where the source's group rule does not match it."""
    if source.group is None:
        return None
    match = re.search(source.group.name, blob_name.removeprefix(source.prefix))
    if match is None or not match["item"] or not match["asset"]:
        return None
    asset = match["asset"]
    return Membership(match["item"], asset, _kind(source, asset, blob_name))


def asset_rule(source: Source, asset: str) -> AssetRule:
    """What the source states of an asset; nothing where it has no rule for it."""
    return source.group.assets.get(asset, _NO_RULE) if source.group else _NO_RULE


def _kind(source: Source, asset: str, blob_name: str) -> MemberKind:
    if asset in source.documents:
        return "document"
    stated = asset_rule(source, asset).raster
    by_name = PurePosixPath(blob_name).suffix.lower() in _RASTER_EXTENSIONS
    return "raster" if (by_name if stated is None else stated) else "other"


MAX_DOCUMENT_BYTES = 1_000_000


def check_document_size(blob: BlobRef) -> None:
    """Raise TooLarge where the blob is larger than a document may be."""
    if blob.size_bytes > MAX_DOCUMENT_BYTES:
        raise TooLarge(
            f"A JSON member of a scene has at most {MAX_DOCUMENT_BYTES:,} bytes; this one has {blob.size_bytes:,}.",
            remedy="Ask for no value of it in the source's settings.",
        )


def read_document(content: bytes, pointers: Iterable[str]) -> dict[str, Any]:
    """The text, numbers and booleans at ``pointers``; what is absent, null, a list or an object is left out.

    Raises Corrupt where ``content`` is no JSON.
    """
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"It is no JSON document: {clean_text(str(error))}.") from error
    values: dict[str, Any] = {}
    for pointer in pointers:
        value = jsonpointer.resolve_pointer(document, pointer, None)
        if isinstance(value, str):
            values[pointer] = clean_text(value)
        elif isinstance(value, int | float) and math.isfinite(value):
            values[pointer] = value
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_OF_THE_GRID = ("proj:", "gsd")
_NOT_OF_A_SCENE = (*_OF_THE_GRID, "renders")
"""What one raster's item says that is not as it is of a scene: its grid, and how to draw its one asset by that name."""

Item = dict[str, Any]
Href = Callable[[str], str]


def build_scene_item(*, source: Source, scene: Scene, href: Href) -> Item:
    """The item of ``scene``, ready for PgSTAC: an asset a member, ``href`` gives the address of a blob.

    Footprint, grid and every other fact of the item itself are of one raster, the first of the required ones; an
    asset on another grid states its own. Raises NoFootprint where there is no raster, InvalidItem where a rule
    contradicts a file, and what `build_item` raises.
    """
    assert source.group is not None
    reference = _reference(source.group, scene)
    dated, origin = _date(source, scene, reference)
    items = {
        member.asset: _raster_item(dated, member, reference, href)
        for member in scene.members
        if member.metadata is not None
    }
    item = items[reference.asset]
    common = _common_grid(item, items.values())
    stated, absent = _stated_properties(source.group, scene)
    version = scene.version
    properties = {
        **{name: value for name, value in item["properties"].items() if not name.startswith(_NOT_OF_A_SCENE)},
        **common,
        **stated,
        "geo_assets:blob": version.name,
        "geo_assets:etag": version.etag,
        "geo_assets:geometry_source": f"{item['properties']['geo_assets:geometry_source']} of {reference.asset}",
        **({"geo_assets:datetime_source": origin} if origin else {}),
        **({"geo_assets:missing": absent} if absent else {}),
    }
    assets: Item = {}
    for member in scene.members:
        key = asset_rule(source, member.asset).key or member.asset
        if key in assets:
            raise InvalidItem(f"Two members of scene {scene.id} have the asset key {key!r}.", remedy=_RULE_REMEDY)
        asset = _build_asset(member, items.get(member.asset), href, common=common)
        assets[key] = _with_stated(source, member, asset)
    extensions = [*extensions_used(properties=properties, assets=assets), *source.group.extensions]
    return {
        **item,
        "id": item_id("{path}", blob_name=scene.id, prefix=""),
        "stac_extensions": list(dict.fromkeys(extensions)),
        "properties": properties,
        "assets": assets,
    }


def gives_geometry(item: Mapping[str, Any], member: str) -> bool:
    """Whether the geometry of a scene's item is that of this member."""
    source: str = item["properties"]["geo_assets:geometry_source"]
    return source.endswith(f" of {member}")


_RULE_REMEDY = "Correct `group` of the source in sources.yaml."


def _reference(group: GroupRule, scene: Scene) -> SceneMember:
    """The raster that represents the scene: the first required one, else the first by asset."""
    members = {member.asset: member for member in scene.members if member.metadata is not None}
    for asset in (*group.required, *members):
        if asset in members:
            return members[asset]
    raise NoFootprint(f"Scene {scene.id} has no raster.", remedy="Require a raster in the source's group.")


def _date(source: Source, scene: Scene, reference: SceneMember) -> tuple[Source, str | None]:
    """The source with only the datetime rule that gives a date, and where that is from if it is another member."""
    findings = []
    for rule in source.datetime:
        try:
            acquired = item_datetime(
                (rule,), blob=reference.blob, metadata=_metadata(reference), documents=scene.documents
            )
        except MissingDatetime as error:
            findings.append(error.message)
            continue
        if isinstance(rule, JsonDatetime):
            return source.model_copy(update={"datetime": (FixedDatetime(fixed=acquired.instant),)}), acquired.origin
        return source.model_copy(update={"datetime": (rule,)}), None
    raise MissingDatetime(" ".join(findings) or "The source has no datetime rule.")


def _raster_item(source: Source, member: SceneMember, reference: SceneMember, href: Href) -> Item:
    """The item a raster would be on its own; the outline is that of the reference, and not worked out again."""
    metadata = replace(_metadata(member), footprint=known_footprint(_metadata(reference)))
    bands = asset_rule(source, member.asset).bands or source.bands
    stated = source.model_copy(update={"bands": bands})
    return build_item(source=stated, blob=member.blob, metadata=metadata, href=href(asset_name(member.blob.name)))


def _build_asset(member: SceneMember, item: Item | None, href: Href, *, common: Item) -> Item:
    """The asset of a member as its file states it: of a raster that of its own ``item``, where its grid differs too."""
    origin = {"geo_assets:blob": member.blob.name, "geo_assets:etag": member.blob.etag}
    if item is not None:
        differs = {name: value for name, value in _grid(item).items() if name not in common or value != common[name]}
        return {**item["assets"]["data"], **differs, **origin}
    guessed = mimetypes.guess_type(member.blob.name)[0] or member.blob.content_type
    kind = {"type": guessed} if guessed else {}
    return {"href": href(member.blob.name), **kind, "file:size": member.blob.size_bytes, **origin}


def _common_grid(item: Item, items: Iterable[Item]) -> Item:
    """The grid of ``item``, but for what another raster does not state at all: that would seem to be its own."""
    grids = [_grid(each) for each in items]
    return {name: value for name, value in _grid(item).items() if all(name in grid for grid in grids)}


def _grid(item: Item) -> Item:
    return {name: value for name, value in item["properties"].items() if name.startswith(_OF_THE_GRID)}


def _with_stated(source: Source, member: SceneMember, asset: Item) -> Item:
    """The asset with what the source's owner states of it."""
    rule = asset_rule(source, member.asset)
    stated: Item = {
        "title": rule.title,
        "description": rule.description,
        "type": rule.type,
        "roles": list(rule.roles) if rule.roles is not None else None,
    }
    return {**asset, **{key: value for key, value in stated.items() if value is not None}}


def _stated_properties(group: GroupRule, scene: Scene) -> tuple[Item, list[str]]:
    """The properties that the scene's documents give, and the names of those they do not."""
    stated: Item = {}
    for name, rule in group.properties.items():
        value = _convert(rule, scene.documents.get(rule.document, {}))
        if value is not None:
            stated[name] = value
    return stated, [name for name in group.properties if name not in stated]


def _convert(rule: PropertyRule, values: Mapping[str, Any]) -> Any:
    """The value as the rule wants it; None where the document has none, or none of that type."""
    value = values.get(rule.path)
    if value is None:
        return None
    if str(value) in rule.values:
        return rule.values[str(value)]
    try:
        match rule.type:
            case "number":
                number = float(value)
                return number if math.isfinite(number) else None
            case "integer":
                return int(value)
            case "string":
                return str(value)
            case None:
                return value
    except ValueError:
        return None


def _metadata(member: SceneMember) -> RasterMetadata:
    assert member.metadata is not None
    return member.metadata
