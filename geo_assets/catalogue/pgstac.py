"""PgSTAC, where the collections and items live, as stages and people handle them.

Here: loading many items at once, withdrawing, and writing collections; which collections there are, what their items
have in common, and deleting them. Not here: the order in which an item comes in and its statements (`items`), making
items and what a collection states (`geo_assets.stac.item`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from geo_assets.catalogue.items import Built, Described, Item, delete_items, enter
from geo_assets.errors import CatalogueRefusal, DuplicateItem
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.postgres.locks import Lock, holding
from geo_assets.sources.source import Source

VALUED = ["proj:code", "platform", "constellation", "instruments", "processing:level"]
RANGED = ["gsd", "eo:cloud_cover", "view:off_nadir", "view:sun_azimuth", "view:sun_elevation"]
MOST_VALUES = 50
"""A property with more values than this is not summarized."""


@dataclass(frozen=True, slots=True)
class CollectionExtent:
    """Where and when the items of a collection lie; bbox is west, south, east, north in EPSG:4326."""

    items: int
    bbox: tuple[float, float, float, float] | None
    interval: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True)
class PgStac:
    """The catalogue's items and collections."""

    connections: Connections

    def upsert_collection(self, collection: dict[str, Any]) -> None:
        """Create the collection, or replace what it states about itself."""
        with self.connections.borrow() as connection:
            connection.execute("SELECT pgstac.upsert_collection(%s)", (Jsonb(collection),))

    def collection_extent(self, collection_id: str) -> CollectionExtent:
        """The extent of the items that are in the collection now."""
        row = self.connections.row("select_collection_extent", collection_id=collection_id)
        if not row["items"]:
            return CollectionExtent(items=0, bbox=None, interval=None)
        return CollectionExtent(
            items=row["items"],
            bbox=(row["west"], row["south"], row["east"], row["north"]),
            interval=(row["first"], row["last"]),
        )

    def enter(
        self, source: Source, built: Sequence[tuple[Described, Built]], *, run_id: str | None
    ) -> dict[str, DuplicateItem]:
        """Claim, load with delsert, read back and mark these items (see `items.enter`).

        One loader a collection at a time: concurrent loads deadlock and can lose items (pgstac#285).
        """
        with self.connections.connect() as connection, holding(connection, Lock.COLLECTION, source.collection.id):
            return enter(connection, source, built, load=self.load, run_id=run_id)

    def withdraw_dead(self, source: Source) -> int:
        """Remove the items of blobs that are gone or quarantined, and of scenes that lack a required one; how many."""
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, source.collection.id),
            connection.transaction(),
        ):
            released = _release_scenes(connection, source) if source.group else _release_blobs(connection, source)
            delete_items(connection, source.name, released)
        return len(released)

    def items_of(self, source: str, *, most: int) -> list[Item]:
        """Up to ``most`` items of ``source``, the newest first."""
        return [row["item"] for row in self.connections.rows("select_items", source=source, most=most)]

    def load(self, items: Sequence[Item]) -> None:
        """Load many items at once, in place of those with their ids; raises what PostgreSQL raises."""
        database = PgstacDB(dsn=self.connections.url)
        try:
            Loader(database).load_items(iter([dict(item) for item in items]), Methods.delsert)
        finally:
            database.disconnect()
            database.close()


def _release_blobs(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Release the claims of blobs that are gone or quarantined, and of scenes the source made formerly."""
    bound = {"source": source.name}
    dead = connection.execute(read_sql("release_dead_claims"), bound).fetchall()
    return dead + connection.execute(read_sql("release_former_scenes"), bound).fetchall()


def _release_scenes(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Take members that are gone or unreadable from their scenes, and release the claims of scenes that end by it."""
    bound = {"source": source.name}
    connection.execute(read_sql("leave_scenes"), bound)
    return connection.execute(read_sql("release_dead_scenes"), bound).fetchall()


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """A collection in PgSTAC, and how many items it has."""

    id: str
    title: str | None
    items: int


@dataclass(frozen=True, slots=True)
class Collections:
    """The collections of the catalogue."""

    connections: Connections

    def all(self) -> list[StoredCollection]:
        """Every collection, by id."""
        return [StoredCollection(**row) for row in self.connections.rows("select_collections")]

    def get(self, collection_id: str) -> dict[str, Any] | None:
        """The collection as PgSTAC holds it; None where there is none."""
        rows = self.connections.rows("select_collection", collection_id=collection_id)
        return rows[0]["collection"] if rows else None

    def item(self, collection_id: str, item_id: str) -> dict[str, Any] | None:
        """The item as PgSTAC holds it; None where there is none."""
        rows = self.connections.rows("select_item", collection_id=collection_id, item_id=item_id)
        return rows[0]["item"] if rows else None

    def summaries(self, collection_id: str) -> dict[str, Any]:
        """STAC summaries of the items that are in the collection now: values, ranges and bands; reads all of them."""
        row = self.connections.row(
            "select_collection_summaries",
            collection_id=collection_id,
            valued=VALUED,
            ranged=RANGED,
            most=MOST_VALUES,
        )
        summaries: dict[str, Any] = row["summaries"]
        return summaries

    def delete(self, collection_id: str, *, sources: Mapping[str, Source], with_items: bool = False) -> int:
        """Delete a collection and let its blobs await their items again; how many items it had.

        Raises CatalogueRefusal where it is protected, where there is none, or where it has items and ``with_items``
        is not set.
        """
        check_not_protected(collection_id, sources)
        if self.get(collection_id) is None:
            raise CatalogueRefusal(
                f"Collection `{collection_id}` does not exist.", remedy="List them with `geo-assets collections list`."
            )
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, collection_id),
            connection.transaction(),
        ):
            items = _delete_items_of(connection, collection_id)
            if items and not with_items:
                raise CatalogueRefusal(
                    f"Collection {collection_id} has {items:,} items.", remedy="Add `--with-items` to delete them too."
                )
            connection.execute("SELECT pgstac.delete_collection(%s)", (collection_id,))
        return items

    def delete_item(self, collection_id: str, item_id: str, *, sources: Mapping[str, Source]) -> None:
        """Delete an item and let its blob await it again.

        Raises CatalogueRefusal where the collection is protected or has no such item.
        """
        check_not_protected(collection_id, sources)
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, collection_id),
            connection.transaction(),
        ):
            if not _delete_items_of(connection, collection_id, item_id):
                raise CatalogueRefusal(f"Collection {collection_id} has no item {item_id}.")


def check_not_protected(collection_id: str, sources: Mapping[str, Source]) -> None:
    """Raise CatalogueRefusal where a source says that the collection is protected."""
    for source in sources.values():
        if source.collection.id == collection_id and source.collection.protected:
            raise CatalogueRefusal(
                f"Collection {collection_id} is protected by source {source.name}.",
                remedy="Take `protected` from the collection in sources.yaml first.",
            )


def _delete_items_of(connection: Connection, collection_id: str, item_id: str | None = None) -> int:
    """Delete one item of the collection, or all, and release their ids; how many."""
    bound = {"collection_id": collection_id, "item_id": item_id}
    connection.execute(read_sql("release_claims_of"), bound)
    row = connection.execute(read_sql("delete_items_of"), bound).fetchone()
    return int(row["items"]) if row else 0
