"""Collections and items as people handle them: which there are, what their items have in common, and deleting them.

Here: what the command line asks of PgSTAC. Not here: loading (`geo_assets.catalogue.pgstac`), and what a collection
states (`geo_assets.stac.item`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geo_assets.errors import CatalogueRefusal
from geo_assets.ledger.database import Connections
from geo_assets.ledger.statements import read_sql
from geo_assets.postgres.locks import Lock, holding
from geo_assets.sources.source import Source

VALUED = ["proj:code", "platform", "constellation", "instruments", "processing:level"]
RANGED = ["gsd", "eo:cloud_cover", "view:off_nadir", "view:sun_azimuth", "view:sun_elevation"]
MOST_VALUES = 50
"""A property with more values than this is not summarized."""


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
        bound = {"collection_id": collection_id, "item_id": None}
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, collection_id),
            connection.transaction(),
        ):
            connection.execute(read_sql("release_claims_of"), bound)
            row = connection.execute(read_sql("delete_items_of"), bound).fetchone()
            items = int(row["items"]) if row else 0
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
        bound = {"collection_id": collection_id, "item_id": item_id}
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, collection_id),
            connection.transaction(),
        ):
            connection.execute(read_sql("release_claims_of"), bound)
            row = connection.execute(read_sql("delete_items_of"), bound).fetchone()
            if not row or not row["items"]:
                raise CatalogueRefusal(f"Collection {collection_id} has no item {item_id}.")


def check_not_protected(collection_id: str, sources: Mapping[str, Source]) -> None:
    """Raise CatalogueRefusal where a source says that the collection is protected."""
    for source in sources.values():
        if source.collection.id == collection_id and source.collection.protected:
            raise CatalogueRefusal(
                f"Collection {collection_id} is protected by source {source.name}.",
                remedy="Take `protected` from the collection in sources.yaml first.",
            )
