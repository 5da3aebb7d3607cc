"""Reading the whole catalogue, or some collections, as it is at one moment.

Here: streaming items in bounded batches. Not here: what is made of them (`geoparquet_file`, `static_catalog`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from geo_assets.errors import InvalidConfiguration
from geo_assets.ledger.database import Connection, Connections
from geo_assets.ledger.statements import read_sql

BATCH_SIZE = 2_000
"""Items a batch: some 20 MB of Python objects."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CatalogueReading:
    """Collections and their items, all of the same moment however long the reading takes."""

    connection: Connection
    collections: dict[str, Document]
    items: int

    def batches(self, collection_id: str | None = None) -> Iterator[list[Document]]:
        """The items of one collection, or of all that are read, in batches by a server-side cursor."""
        wanted = list(self.collections) if collection_id is None else [collection_id]
        with self.connection.cursor("items_to_export") as cursor:
            cursor.execute(read_sql("export_items"), {"collection_ids": wanted})
            while rows := cursor.fetchmany(BATCH_SIZE):
                yield [row["item"] for row in rows]


@contextmanager
def read_catalogue(connections: Connections, *collection_ids: str) -> Iterator[CatalogueReading]:
    """Read these collections, or all, in one repeatable-read transaction.

    Raises InvalidConfiguration where a collection does not exist, DatabaseUnavailable.
    """
    with connections.connect() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = connection.execute(read_sql("export_collections"), {"collection_ids": list(collection_ids) or None})
        collections = {row["collection"]["id"]: row["collection"] for row in found}
        for missing in set(collection_ids) - set(collections):
            raise InvalidConfiguration(
                f"The catalogue has no collection {missing!r}.",
                remedy="Run the job ingest_rasters for its source first.",
            )
        counted = connection.execute(
            read_sql("count_items_to_export"), {"collection_ids": list(collections)}
        ).fetchone()
        yield CatalogueReading(connection, collections, counted["items"] if counted else 0)
