"""Items in a transaction that is open: whose an id is, replacing them, reading them back, deleting them.

Here: the statements of each step of the one path (`item_path`). Not here: loading many items at once (`pgstac`), and
when a transaction begins and ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from geo_assets.errors import DuplicateItem, InvalidItem, LoadIncomplete
from geo_assets.ledger.database import Executor
from geo_assets.ledger.statements import read_sql
from geo_assets.models import BlobRef
from geo_assets.postgres.errors import OF_THE_SERVER
from geo_assets.postgres.locks import Lock, take_until_end
from geo_assets.sources.source import Source

Item = dict[str, Any]
Owner = tuple[str, str]
"""A source and the blob, or the scene, that owns an item id."""
_MAKE_COLLECTION = "Run the whole job again: its asset stac_collections makes the collection before any item."


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


def id_taken(item: Item, blob: BlobRef, owner: Owner) -> DuplicateItem:
    """Why ``blob`` has no item: the id is of ``owner``, a source and a blob."""
    said = f"Item id {item['id']!r} of {blob.name} belongs to {owner[1]} of source {owner[0]}."
    return DuplicateItem(said, item_id=item["id"])


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
