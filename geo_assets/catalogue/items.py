"""Items and their one path into the catalogue: remarks, build, check, claim, load, read back, mark.

Here: that order, for a raster, a scene and the tables of a vector file alike, and the statements of each step in a
transaction that is open: whose an id is, replacing items, reading them back, deleting them. All of it without Dagster
and pypgstac, so that a worker process stays small. Not here: what an item says (`geo_assets.stac`), loading many at
once (`pgstac`), recording why a blob has none, which is the engine's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from geo_assets.errors import DuplicateItem, InvalidItem, LoadIncomplete
from geo_assets.ledger.blobs import mark_catalogued
from geo_assets.ledger.database import Executor, connection_of, read_sql
from geo_assets.ledger.scenes import mark_scenes_catalogued, read_remarks, refuse_surplus
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.postgres.errors import OF_THE_SERVER
from geo_assets.postgres.locks import Lock, take_until_end
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_item
from geo_assets.stac.remarks import NOTHING, Remarks, check_item, scene_with_remarks, with_remarks
from geo_assets.stac.scene import Scene, build_scene_item
from geo_assets.stac.schemas import ItemValidator, item_validator
from geo_assets.stac.table_item import DescribedTable, build_table_items
from geo_assets.storage.related_blobs import asset_name

Item = dict[str, Any]
Owner = tuple[str, str]
"""A source and the blob, or the scene, that owns an item id."""
_MAKE_COLLECTION = "Run the whole job again: its asset stac_collections makes the collection before any item."
Href = Callable[[str], str]
"""The address of a blob by its name."""
Load = Callable[[Sequence[Item]], None]
"""Puts items into PgSTAC, in place of those with their ids."""


def hold_collection(executor: Executor, collection_id: str) -> None:
    """Keep others from loading or withdrawing items of the collection until the transaction ends."""
    take_until_end(executor, Lock.COLLECTION, collection_id)


def claim_ids(executor: Executor, source: Source, wanted: Sequence[tuple[BlobRef, Item]]) -> dict[str, Owner]:
    """Claim an item id for each blob; items whose id someone else owns, as {item id: (source, blob)}.

    Where a blob owned another id by an earlier rule, that item is withdrawn.
    """
    bound = {
        "source": source.name,
        "collection_id": source.collection.id,
        "item_ids": [item["id"] for _, item in wanted],
        "names": [blob.name for blob, _ in wanted],
    }
    delete_items(executor, source.name, executor.execute(read_sql("release_moved_claims"), bound).fetchall())
    executor.execute(read_sql("claim_items"), bound)
    owners = {
        row["item_id"]: (row["source"], row["name"])
        for row in executor.execute(read_sql("select_owners"), bound).fetchall()
    }
    own = {(source.name, blob.name, item["id"]) for blob, item in wanted}
    return {item_id: owner for item_id, owner in owners.items() if (*owner, item_id) not in own}


@contextmanager
def load_errors(what: str) -> Iterator[None]:
    """Turn what PostgreSQL and PgSTAC say of ``what``, which the block loads, into InvalidItem or LoadIncomplete."""
    try:
        yield
    except psycopg.DataError as error:
        raise InvalidItem(f"PostgreSQL refuses a value of {what}: {_first_line(error)}.") from error
    except OF_THE_SERVER:
        raise
    except psycopg.Error as error:
        raise LoadIncomplete(f"PgSTAC refuses {what}: {_first_line(error)}.") from error


def _first_line(error: psycopg.Error) -> str:
    return str(error).splitlines()[0].rstrip(".")


def check_collection(executor: Executor, collection_id: str) -> None:
    """Raise LoadIncomplete where there is no such collection, of which PgSTAC says no more than of a bad item."""
    if not executor.execute("SELECT FROM pgstac.collections WHERE id = %s", (collection_id,)).fetchall():
        raise LoadIncomplete(f"Collection {collection_id} does not exist.", remedy=_MAKE_COLLECTION)


def replace_items(executor: Executor, collection_id: str, items: Sequence[Item]) -> None:
    """Load a few items in place of those with their ids, in the transaction that is open."""
    ids = [item["id"] for item in items]
    executor.execute(read_sql("delete_items"), {"collection_ids": [collection_id] * len(ids), "item_ids": ids})
    executor.execute("SELECT pgstac.create_items(%s)", (Jsonb(list(items)),))


def read_back(executor: Executor, collection_id: str, loaded: Sequence[tuple[BlobRef, Item]]) -> None:
    """Raise LoadIncomplete unless each item is there once, and as sent."""
    bound = {"collection_id": collection_id, "item_ids": [item["id"] for _, item in loaded]}
    rows = executor.execute(read_sql("read_back_items"), bound).fetchall()
    found = sorted((row["id"], row["etag"]) for row in rows)
    sent = sorted((item["id"], blob.etag) for blob, item in loaded)
    if found != sent:
        missing = sorted({item_id for item_id, _ in set(sent) - set(found)})
        raise LoadIncomplete(
            f"Collection {collection_id}: sent {len(sent)} items, read back {len(found)}; "
            f"missing or stale: {', '.join(missing[:5]) or 'none, but some are there twice'}."
        )


def delete_items(executor: Executor, source: str, released: Sequence[DictRow]) -> None:
    """Delete these items, and release what their blobs and their ids blocked."""
    if not released:
        return
    ids = {
        "collection_ids": [row["collection_id"] for row in released],
        "item_ids": [row["item_id"] for row in released],
    }
    executor.execute(read_sql("delete_items"), ids)
    executor.execute(read_sql("unmark_catalogued"), {"source": source, "names": [row["name"] for row in released]})
    executor.execute(read_sql("reopen_duplicates"), ids)


class Described(Protocol):
    """What items are made of: a raster, a scene, or the tables of a file."""

    @property
    def name(self) -> str:
        """The blob's name, or the scene's id: who owns the items."""
        ...

    @property
    def version(self) -> BlobRef:
        """Of which version the items are."""
        ...

    @property
    def blobs(self) -> Sequence[BlobRef]:
        """The blobs that the items are of."""
        ...

    @property
    def surplus(self) -> Sequence[BlobRef]:
        """Blobs beside them that have no place in an item."""
        ...

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Sequence[Item]:
        """The items, with what ``remarks`` says of the blobs by name."""
        ...

    def id_taken(self, item: Item, owner: Owner) -> DuplicateItem:
        """Why it has no items: another one owns the id of ``item``."""
        ...


@dataclass(frozen=True, slots=True)
class _DescribedBlob:
    """One blob whose items are of it alone."""

    version: BlobRef

    @property
    def name(self) -> str:
        """The blob's."""
        return self.version.name

    @property
    def blobs(self) -> Sequence[BlobRef]:
        """The one blob."""
        return (self.version,)

    @property
    def surplus(self) -> Sequence[BlobRef]:
        """None."""
        return ()

    def id_taken(self, item: Item, owner: Owner) -> DuplicateItem:
        """Another blob owns the id."""
        return DuplicateItem(
            f"Item id {item['id']!r} of {self.name} belongs to {owner[1]} of source {owner[0]}.", item_id=item["id"]
        )


@dataclass(frozen=True, slots=True)
class DescribedRaster(_DescribedBlob):
    """A raster and what its header says."""

    metadata: RasterMetadata

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Sequence[Item]:
        """The item of the blob."""
        address = href(asset_name(self.name))
        item = build_item(source=source, blob=self.version, metadata=self.metadata, href=address)
        return (with_remarks(item, remarks.get(self.name, NOTHING)),)


@dataclass(frozen=True, slots=True)
class DescribedScene:
    """A scene that has all that it requires."""

    scene: Scene

    @property
    def name(self) -> str:
        """The scene's id."""
        return self.scene.id

    @property
    def version(self) -> BlobRef:
        """The scene as if it were one blob."""
        return self.scene.version

    @property
    def blobs(self) -> Sequence[BlobRef]:
        """Its members."""
        return [member.blob for member in self.scene.members]

    @property
    def surplus(self) -> Sequence[BlobRef]:
        """Blobs whose asset another member is already."""
        return [member.blob for member in self.scene.surplus]

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Sequence[Item]:
        """The item of all members."""
        return (scene_with_remarks(build_scene_item(source=source, scene=self.scene, href=href), remarks),)

    def id_taken(self, item: Item, owner: Owner) -> DuplicateItem:
        """Another blob or scene owns the id."""
        return DuplicateItem(
            f"Item id {item['id']!r} of scene {self.name} belongs to {owner[1]} of source {owner[0]}.",
            remedy="Make the regular expression's group `item` in sources.yaml unique.",
            item_id=item["id"],
        )


@dataclass(frozen=True, slots=True)
class DescribedFile(_DescribedBlob):
    """A vector file and the tables that it became."""

    tables: Sequence[DescribedTable]

    def build(self, source: Source, href: Href, remarks: Mapping[str, Remarks]) -> Sequence[Item]:
        """An item for each table."""
        said = remarks.get(self.name, NOTHING)
        items = build_table_items(source=source, blob=self.version, tables=self.tables, href=href(self.name))
        return [with_remarks(item, said) for item in items]


@dataclass(frozen=True, slots=True)
class Built:
    """Valid items, and what was known of their blobs when they were built."""

    items: Sequence[Item]
    remarks: Mapping[str, Remarks]


def build(
    unit: Described, source: Source, *, href: Href, remarks: Mapping[str, Remarks], validator: ItemValidator
) -> Built:
    """Build the items of ``unit`` and check them. Raises the reason why it can have none."""
    items = unit.build(source, href, remarks)
    for item in items:
        check_item(item, validator)
    return Built(items, remarks)


def enter(
    executor: Executor,
    source: Source,
    built: Sequence[tuple[Described, Built]],
    *,
    load: Load,
    run_id: str | None,
) -> dict[str, DuplicateItem]:
    """Claim the ids of these items, ``load`` them, read them back, and mark the versions of their blobs catalogued.

    The caller holds the collection (`hold_collection`). Returns why a unit has no items, by its name: others own an
    id. Where a blob owned another id by an earlier rule, that item goes with the claim. What was patched since the
    items were built stays pending. Raises InvalidItem for a value that PostgreSQL refuses, and LoadIncomplete unless
    each item is there as sent.
    """
    with connection_of(executor).transaction():
        owners = claim_ids(executor, source, _pairs(built))
    taken = {
        unit.name: unit.id_taken(item, owners[item["id"]])
        for unit, each in built
        for item in each.items
        if item["id"] in owners
    }
    own = [(unit, each) for unit, each in built if unit.name not in taken]
    load_items(executor, source, _pairs(own), load=load)
    remarks = {name: said for _, each in own for name, said in each.remarks.items()}
    scenes = [unit.scene for unit, _ in own if isinstance(unit, DescribedScene)]
    versions = [unit.version for unit, _ in own if not isinstance(unit, DescribedScene)]
    mark_catalogued(executor, source, versions, run_id=run_id, remarks=remarks)
    mark_scenes_catalogued(executor, source, scenes, run_id=run_id, remarks=remarks)
    refuse_surplus(executor, source, scenes, run_id=run_id)
    return taken


def load_items(
    executor: Executor,
    source: Source,
    loaded: Sequence[tuple[BlobRef, Item]],
    *,
    load: Load,
) -> None:
    """Load these items and read them back; of what it raises see `enter`."""
    if not loaded:
        return
    what = f"the item of {loaded[0][0].name}" if len(loaded) == 1 else f"{len(loaded):,} items"
    with load_errors(what):
        check_collection(executor, source.collection.id)
        load([item for _, item in loaded])
        read_back(executor, source.collection.id, loaded)


def catalogue_tables(
    executor: Executor, source: Source, blob: BlobRef, *, href: str, schemas_folder: Path | None, run_id: str | None
) -> None:
    """Load the item of each table of ``blob``, in the transaction that is open: that of the tables, or one of its own.

    So an item and its table are of one version whenever you look. ``href`` is the file's. Raises MissingDatetime,
    InvalidItem or DuplicateItem, the reason why the file can have none, and LoadIncomplete; the caller then rolls back.
    """
    hold_collection(executor, source.collection.id)
    bound = {"source": source.name, "name": blob.name, "etag": blob.etag}
    rows = executor.execute(read_sql("select_described_tables"), bound).fetchall()
    unit = DescribedFile(blob, [DescribedTable(**row) for row in rows])
    remarks = read_remarks(executor, source.name, [blob.name])
    built = build(unit, source, href=lambda _: href, remarks=remarks, validator=item_validator(schemas_folder))
    load = partial(replace_items, executor, source.collection.id)
    for reason in enter(executor, source, [(unit, built)], load=load, run_id=run_id).values():
        raise reason


def _pairs(built: Sequence[tuple[Described, Built]]) -> list[tuple[BlobRef, Item]]:
    return [(unit.version, item) for unit, each in built for item in each.items]
