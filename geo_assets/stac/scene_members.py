"""Which blobs make one item together, and what each of them is to it: applying a source's group rule to names.

Here: the membership that a blob's name states, and a scene as its members with their version. Not here: the rule's
schema (`geo_assets.sources.item_rules`), the item of a scene (`scene`), which scenes are complete (SQL:
`ledger.blob_state`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.sources.item_rules import AssetRule
from geo_assets.sources.source import Source

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
