"""PgSTAC: where the collections and items live.

Here: loading, reading back, withdrawing, and which blob owns which item. Not here: making items
(`geo_assets.core`), the state of blobs (`geo_assets.resources.ledger`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from geo_assets.errors import LoadIncomplete
from geo_assets.models import BlobRef
from geo_assets.resources.database import Connection, DatabaseResource
from geo_assets.resources.statements import read_sql
from geo_assets.sources import Source

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionExtent:
    """Where and when the items of a collection lie; bbox is west, south, east, north in EPSG:4326."""

    items: int
    bbox: tuple[float, float, float, float] | None
    interval: tuple[datetime, datetime] | None


class PgStac(DatabaseResource):
    """The catalogue's items and collections."""

    def upsert_collection(self, collection: dict[str, Any]) -> None:
        """Create the collection, or replace what it states about itself."""
        with self.borrow() as connection:
            connection.execute("SELECT pgstac.upsert_collection(%s)", (Jsonb(collection),))

    def collection_extent(self, collection_id: str) -> CollectionExtent:
        """The extent of the items that are in the collection now."""
        row = self.row("select_collection_extent", collection_id=collection_id)
        if not row["items"]:
            return CollectionExtent(items=0, bbox=None, interval=None)
        return CollectionExtent(
            items=row["items"],
            bbox=(row["west"], row["south"], row["east"], row["north"]),
            interval=(row["first"], row["last"]),
        )

    def claim(self, source: Source, wanted: Sequence[tuple[BlobRef, Item]]) -> dict[str, tuple[str, str]]:
        """Claim an item id for each blob; items whose id someone else owns, as {item id: (source, blob)}.

        Where a blob owned another id by an earlier rule, that item is withdrawn in the same transaction.
        """
        bound = {
            "source": source.name,
            "collection_id": source.collection.id,
            "item_ids": [item["id"] for _, item in wanted],
            "names": [blob.name for blob, _ in wanted],
        }
        with self.borrow() as connection, connection.transaction():
            moved = connection.execute(read_sql("release_moved_claims"), bound).fetchall()
            _delete_items(connection, source.name, moved)
            connection.execute(read_sql("claim_items"), bound)
            owners = {
                row["item_id"]: (row["source"], row["name"])
                for row in connection.execute(read_sql("select_owners"), bound).fetchall()
            }
        own = {(source.name, blob.name, item["id"]) for blob, item in wanted}
        return {item_id: owner for item_id, owner in owners.items() if (*owner, item_id) not in own}

    def load(self, source: Source, loaded: Sequence[tuple[BlobRef, Item]]) -> None:
        """Load the items with delsert, read them back, and raise LoadIncomplete unless each is there as sent.

        One loader a collection at a time: concurrent loads deadlock and can lose items (pgstac#285).
        """
        if not loaded:
            return
        collection_id = source.collection.id
        with self.connect() as connection, collection_lock(connection, collection_id):
            self._delsert([item for _, item in loaded])
            found = connection.execute(
                read_sql("read_back_items"),
                {"collection_id": collection_id, "item_ids": [item["id"] for _, item in loaded]},
            ).fetchall()
        self._check(collection_id, loaded, [(row["id"], row["etag"]) for row in found])

    def withdraw_dead(self, source: Source) -> int:
        """Remove the items of blobs that are gone or quarantined, and of scenes that lack a required one; how many."""
        with self.connect() as connection, collection_lock(connection, source.collection.id), connection.transaction():
            released = _release_scenes(connection, source) if source.group else _release_blobs(connection, source)
            _delete_items(connection, source.name, released)
        return len(released)

    def items_of(self, source: str, *, most: int) -> list[Item]:
        """Up to ``most`` items of ``source``, the newest first."""
        return [row["item"] for row in self.rows("select_items", source=source, most=most)]

    def _delsert(self, items: Sequence[Item]) -> None:
        database = PgstacDB(dsn=self.resolved_url())
        try:
            Loader(database).load_items(iter([dict(item) for item in items]), Methods.delsert)
        finally:
            database.disconnect()
            database.close()

    @staticmethod
    def _check(collection_id: str, loaded: Sequence[tuple[BlobRef, Item]], found: list[tuple[str, str]]) -> None:
        sent = sorted((item["id"], blob.etag) for blob, item in loaded)
        if sorted(found) != sent:
            missing = sorted({item_id for item_id, _ in set(sent) - set(found)})
            raise LoadIncomplete(
                f"collection {collection_id}: sent {len(sent)} items, read back {len(found)}; "
                f"missing or stale: {', '.join(missing[:5]) or 'none, but some are there twice'}."
            )


@contextmanager
def collection_lock(connection: Connection, collection_id: str) -> Iterator[None]:
    """Keep others from loading or withdrawing items of the collection until the block ends."""
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 2))", (f"load {collection_id}",))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 2))", (f"load {collection_id}",))


def _release_blobs(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Let go of the claims of blobs that are gone or quarantined, and of scenes the source made formerly."""
    bound = {"source": source.name}
    dead = connection.execute(read_sql("release_dead_claims"), bound).fetchall()
    return dead + connection.execute(read_sql("release_former_scenes"), bound).fetchall()


def _release_scenes(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Take members that are gone or unreadable from their scenes, and let go of the claims of those that end by it."""
    bound = {"source": source.name}
    connection.execute(read_sql("leave_scenes"), bound)
    return connection.execute(read_sql("release_dead_scenes"), bound).fetchall()


def _delete_items(connection: Connection, source: str, released: list[dict[str, Any]]) -> None:
    """Delete these items, and let go of what their blobs and their ids blocked."""
    if not released:
        return
    connection.execute(
        read_sql("delete_items"),
        {
            "collection_ids": [row["collection_id"] for row in released],
            "item_ids": [row["item_id"] for row in released],
        },
    )
    connection.execute(read_sql("unmark_catalogued"), {"source": source, "names": [row["name"] for row in released]})
    connection.execute(
        read_sql("reopen_duplicates"), {"collection_ids": sorted({row["collection_id"] for row in released})}
    )
