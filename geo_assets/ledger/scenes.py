"""Scenes in the ledger: which blobs belong together, what their JSON members say, and which scenes wait.

Here: what reads and writes the columns and the table of scenes. Not here: what a name says of a scene
(`stac.scene`), the states of blobs (the view `ledger.blob_state`), everything else of the ledger (`ledger`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from geo_assets.errors import DuplicateItem, NotInGroup
from geo_assets.ledger.database import Connection, Connections, Executor, connection_of, read_sql
from geo_assets.models import BlobRef, Failure, RasterMetadata
from geo_assets.sources.source import Source
from geo_assets.stac.remarks import NOTHING, Remarks
from geo_assets.stac.scene import Scene, SceneMember, membership

NO_REMARKS: Mapping[str, Remarks] = {}
_GROUP_AT_ONCE = 10_000
_METADATA = TypeAdapter(RasterMetadata)


@dataclass(frozen=True, slots=True)
class WaitingScene:
    """A scene that is no item yet: how many blobs of it are there, and the required assets it waits for."""

    scene: str
    blobs: int
    waiting_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SceneLedger:
    """The part of the ledger that knows of scenes."""

    connections: Connections

    def group_blobs(self, source: Source, *, run_id: str | None) -> int:
        """Apply the source's group rule to the blobs it was not applied to yet; how many.

        A blob it does not match is refused: `NotInGroup`. Call it when the source is registered, before any stage's
        plan.
        """
        with self.connections.borrow() as connection:
            if source.group is None:
                connection.execute(read_sql("ungroup_blobs"), {"source": source.name})
                return 0
            rows = connection.execute(read_sql("select_ungrouped"), {"source": source.name}).fetchall()
            for start in range(0, len(rows), _GROUP_AT_ONCE):
                blobs = [(row["name"], row["etag"]) for row in rows[start : start + _GROUP_AT_ONCE]]
                with connection.transaction():
                    group_named(connection, source, blobs, run_id=run_id)
        return len(rows)

    def record_documents(
        self, source: str, documents: Sequence[tuple[BlobRef, Mapping[str, Any]]], *, run_id: str | None
    ) -> None:
        """Store what was read of these JSON members and mark their versions described, in one transaction."""
        if not documents:
            return
        with self.connections.borrow() as connection, connection.transaction():
            connection.cursor().executemany(
                read_sql("store_document"),
                [
                    {
                        "source": source,
                        "name": blob.name,
                        "etag": blob.etag,
                        "content": Jsonb(dict(content)),
                        "run_id": run_id,
                    }
                    for blob, content in documents
                ],
            )
            connection.execute(
                read_sql("mark_described"),
                {
                    "source": source,
                    "run_id": run_id,
                    "names": [blob.name for blob, _ in documents],
                    "etags": [blob.etag for blob, _ in documents],
                },
            )

    def to_catalogue(self, source: str, *, first: str, last: str, as_of: datetime) -> list[Scene]:
        """The scenes from id ``first`` to ``last`` in which a blob seen by ``as_of`` awaits its item, whole."""
        rows = self.connections.rows("select_scene_members", source=source, first=first, last=last, as_of=as_of)
        return [
            Scene.of(scene_id, [_member(row) for row in members])
            for scene_id, members in groupby(rows, key=lambda row: str(row["scene_id"]))
        ]

    def remarks(self, source: str, names: Sequence[str]) -> dict[str, Remarks]:
        """What is known of these blobs beyond their present version, of those of which anything is."""
        with self.connections.borrow() as connection:
            return read_remarks(connection, source, names)

    def waiting(self, source: str, *, most: int = 1000) -> list[WaitingScene]:
        """The scenes that wait for required assets, by id."""
        rows = self.connections.rows("select_waiting_scenes", source=source, most=most)
        return [WaitingScene(row["scene"], row["blobs"], tuple(row["waiting_for"])) for row in rows]


def read_remarks(executor: Executor, source: str, names: Sequence[str]) -> dict[str, Remarks]:
    """What is known of these blobs beyond their present version, of those of which anything is."""
    rows = executor.execute(read_sql("select_remarks"), {"source": source, "names": list(names)}).fetchall()
    return {row.pop("name"): Remarks(**row) for row in rows}


def mark_scenes_catalogued(
    executor: Executor,
    source: Source,
    scenes: Sequence[Scene],
    *,
    run_id: str | None,
    remarks: Mapping[str, Remarks] = NO_REMARKS,
) -> None:
    """Mark the members of these scenes catalogued; call it only after the read-back.

    A scene of which a member changed or left since it was read, or that was patched since ``remarks`` were, stays
    pending.
    """
    members = [(scene.id, member.blob) for scene in scenes for member in scene.members]
    if not members:
        return
    loaded = {
        "source": source.name,
        "scene_ids": [scene_id for scene_id, _ in members],
        "names": [blob.name for _, blob in members],
        "etags": [blob.etag for _, blob in members],
        "patch_revisions": [remarks.get(blob.name, NOTHING).patch_revision for _, blob in members],
    }
    with connection_of(executor).transaction():
        held = executor.execute(read_sql("hold_whole_scenes"), loaded).fetchall()
        versions = [(row["name"], row["etag"], row["patch_revision"]) for row in held]
        mark_versions(executor, source, versions, run_id=run_id)


def mark_versions(
    executor: Executor, source: Source, versions: Sequence[tuple[str, str, int]], *, run_id: str | None
) -> None:
    """Mark versions, given by name, etag and the revision of their patch, catalogued under the source's rule."""
    executor.execute(
        read_sql("mark_catalogued"),
        {
            "source": source.name,
            "rule_digest": source.rule_digest,
            "run_id": run_id,
            "names": [name for name, _, _ in versions],
            "etags": [etag for _, etag, _ in versions],
            "patch_revisions": [revision for _, _, revision in versions],
        },
    )


def refuse_surplus(executor: Executor, source: Source, scenes: Sequence[Scene], *, run_id: str | None) -> None:
    """Record why blobs have no item whose asset another member of their scene is already."""
    failures = [
        Failure.of(member.blob, DuplicateItem(_surplus_message(scene, member), remedy=_SURPLUS_REMEDY))
        for scene in scenes
        for member in scene.surplus
    ]
    if not failures:
        return
    connection = connection_of(executor)
    with connection.transaction():
        write_failures(connection, source, failures, stage="catalogue", run_id=run_id)
        names = [failure.name for failure in failures]
        connection.execute(read_sql("unmark_catalogued"), {"source": source.name, "names": names})


def write_failures(
    connection: Connection, source: Source, failures: Sequence[Failure], *, stage: str, run_id: str | None
) -> None:
    """The standing reason of each of these versions, and the history of attempts."""
    values: list[dict[str, Any]] = [
        {
            "source": source.name,
            "rule_digest": source.rule_digest,
            "stage": stage,
            "run_id": run_id,
            "name": failure.name,
            "etag": failure.etag,
            "code": failure.code,
            "message": _stored(failure.message),
            "remedy": _stored(failure.remedy) or None,
            "permanent": failure.permanent,
            "item_id": failure.item_id,
            "max_attempts": failure.max_attempts,
        }
        for failure in failures
    ]
    connection.cursor().executemany(read_sql("mark_failed"), values)
    connection.cursor().executemany(read_sql("add_failed_attempt"), values)


_SURPLUS_REMEDY = "Tell them apart in the regular expression of the source's group, or exclude one."


def _surplus_message(scene: Scene, surplus: SceneMember) -> str:
    taken = next(member.blob.name for member in scene.members if member.asset == surplus.asset)
    return f"asset {surplus.asset} of scene {scene.id} is {taken} already."


def _stored(text: str) -> str:
    """As a column takes it: without NUL, and not without end."""
    return text.replace("\0", " ")[:2000]


def group_named(
    connection: Connection, source: Source, blobs: Sequence[tuple[str, str]], *, run_id: str | None
) -> None:
    """Apply the source's group rule to these blobs, given by name and etag."""
    said = [(name, etag, membership(source, name)) for name, etag in blobs]
    connection.execute(
        read_sql("group_blobs"),
        {
            "source": source.name,
            "rule_digest": source.rule_digest,
            "names": [name for name, _, _ in said],
            "scene_ids": [each and each.scene_id for _, _, each in said],
            "asset_keys": [each and each.asset for _, _, each in said],
            "member_kinds": [each.kind if each else "raster" for _, _, each in said],
        },
    )
    error = NotInGroup("`group.name` of the source does not match the blob's name.")
    refused = [
        Failure(name, etag, error.code, error.message, permanent=True, remedy=error.remedy)
        for name, etag, each in said
        if each is None
    ]
    write_failures(connection, source, refused, stage="catalogue", run_id=run_id)


def _member(row: Mapping[str, Any]) -> SceneMember:
    values = {name: value for name, value in row.items() if name != "scene_id"}
    metadata, document, asset = values.pop("metadata"), values.pop("document"), values.pop("asset_key")
    return SceneMember(
        blob=BlobRef(**values),
        asset=asset,
        metadata=None if metadata is None else _METADATA.validate_json(metadata),
        document=document,
    )
