"""PgSTAC: where the collections and items live.

Here: loading many items at once, withdrawing, collections. Not here: the order in which an item comes in
(`catalogue.item_path`), its statements (`catalogue.items`), making items (`geo_assets.stac`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from geo_assets.catalogue.item_path import Built, Described, enter
from geo_assets.catalogue.items import Item, delete_items
from geo_assets.errors import DuplicateItem
from geo_assets.ledger.database import Connection, Connections
from geo_assets.ledger.statements import read_sql
from geo_assets.postgres.locks import Lock, holding
from geo_assets.sources.source import Source


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
        """Claim, load with delsert, read back and mark these items (see `item_path.enter`).

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
