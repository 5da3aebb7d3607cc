"""Writing to the catalogue through /stac: only to collections that no source makes, and with who wrote what.

Here: what a write names, wherever it does, checked and recorded in the transaction that writes. Not here: reading, and
the connections (`catalogue`).

What a source makes is the source's to write: an item whose blob exists would be replaced by the next run, and one
without a blob would make the census wrong.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, cast

import asyncpg
import orjson
from fastapi import Request
from jsonpatch import JsonPatchException
from jsonpointer import JsonPointerException
from stac_fastapi.extensions import BulkTransactionExtension, TransactionExtension
from stac_fastapi.pgstac.config import Settings as StacSettings
from stac_fastapi.pgstac.models.extensions import Extensions
from stac_fastapi.pgstac.transactions import BulkTransactionsClient, TransactionsClient
from stac_fastapi.types.extension import ApiExtension
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from geo_assets.api.access import Principal
from geo_assets.api.problems import Conflict, InvalidRequest, correlation_id_of
from geo_assets.ledger.database import read_sql
from geo_assets.postgres.locks import SHARE_UNTIL_END, Lock, lock_key

_FUNCTION = re.compile(r"\s*SELECT \* FROM (\w+)\(")
_OF_ITEMS = ("create_item", "create_items", "update_item", "upsert_item", "upsert_items")
_OF_COLLECTIONS = ("create_collection", "update_collection", "upsert_collection")


class TransactionExtensions(Extensions):  # type: ignore[misc]
    """The library's extensions, whose transactions refuse a patch that cannot be applied instead of failing."""

    @property
    def transaction(self) -> list[ApiExtension]:
        """Single items and collections, and items in bulk."""
        return [
            TransactionExtension(client=Transactions(), settings=self.settings, response_class=JSONResponse),
            BulkTransactionExtension(client=BulkTransactionsClient()),
        ]


class Transactions(TransactionsClient):  # type: ignore[misc]
    """The library's transactions; what it stumbles over is the caller's fault, and said to the caller."""

    async def create_item(self, *arguments: Any, **named: Any) -> Any:
        """The new item, or the new items. Raises InvalidRequest without a body."""
        return await super().create_item(*arguments, **_with_body(named))

    async def update_item(self, *arguments: Any, **named: Any) -> Any:
        """The item as it is now. Raises InvalidRequest without a body."""
        return await super().update_item(*arguments, **_with_body(named))

    async def create_collection(self, *arguments: Any, **named: Any) -> Any:
        """The new collection. Raises InvalidRequest without a body."""
        return await super().create_collection(*arguments, **_with_body(named))

    async def update_collection(self, *arguments: Any, **named: Any) -> Any:
        """The collection as it is now. Raises InvalidRequest without a body."""
        return await super().update_collection(*arguments, **_with_body(named))

    async def patch_item(self, *arguments: Any, **named: Any) -> Any:
        """The patched item. Raises InvalidRequest for a patch that cannot be applied, or without one."""
        return await _patched(super().patch_item(*arguments, **_with_body(named)))

    async def patch_collection(self, *arguments: Any, **named: Any) -> Any:
        """The patched collection. Raises InvalidRequest for a patch that cannot be applied, or without one."""
        return await _patched(super().patch_collection(*arguments, **_with_body(named)))

    def _validate_id(self, id: Any, settings: StacSettings) -> None:  # noqa: A002 (the library names it so)
        if not isinstance(id, str):
            raise InvalidRequest("The id of the body is not a string.", remedy="Give it the id of the path.")
        super()._validate_id(id, settings)


def _with_body(named: dict[str, Any]) -> dict[str, Any]:
    """What the library read of a request, which takes one without a body for one of nothing."""
    if any(value is None for value in named.values()):
        raise InvalidRequest("The request has no body.", remedy="Send the item or the collection as JSON.")
    return named


async def _patched(work: Any) -> Any:
    try:
        return await work
    except (JsonPatchException, JsonPointerException, LookupError, TypeError) as error:
        raise InvalidRequest(
            f"The patch cannot be applied: {type(error).__name__}.", remedy="Check the paths of its operations."
        ) from error


class CheckedWrites:
    """The connection that the library writes with: checks each statement's arguments before they are sent.

    Path and body are checked alike, for what the library makes of both is what comes here.
    """

    def __init__(self, request: Request, connection: asyncpg.Connection) -> None:
        self._request = request
        self._connection = connection
        self._written: list[tuple[str | None, str | None]] = []

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Call the one function that ``query`` calls.

        Raises Conflict for a collection of a source, InvalidRequest where body and path name different things.
        """
        named = _named(query, arguments)
        await self._check({collection_id for collection_id, _ in named})
        self._check_path(named)
        found = await self._connection.fetchval(query, *arguments)
        self._written += named
        return found

    async def check_path(self) -> None:
        """Raise Conflict where the path names a collection of a source."""
        collection_id = self._request.path_params.get("collection_id")
        if collection_id is not None:
            await self._check({collection_id})

    async def record(self) -> None:
        """Record who wrote what: a row for each item, one for a collection."""
        path = self._request.path_params
        of_path: list[tuple[str | None, str | None]] = [(path.get("collection_id"), path.get("item_id"))]
        written = self._written or of_path
        await self._connection.execute(
            read_sql("record_api_write"),
            cast(Principal, self._request.scope["state"]["principal"]).name,
            self._request.method,
            self._request.url.path,
            [collection_id for collection_id, _ in written],
            [item_id for _, item_id in written],
            correlation_id_of(self._request),
        )

    async def _check(self, collection_ids: set[str]) -> None:
        declared: Mapping[str, Any] = await run_in_threadpool(self._request.app.state.sources)
        owners = {source.collection.id: name for name, source in declared.items()}
        for collection_id in sorted(collection_ids):
            # Until this transaction ends: a source that registers meanwhile waits for it, and is seen by the next.
            await self._connection.execute(SHARE_UNTIL_END, lock_key(Lock.OWNERSHIP, collection_id))
            rows = await self._connection.fetch(read_sql("select_owned_collections"), collection_id)
            owners |= {row["collection_id"]: row["source"] for row in rows}
            alike = _as_read(collection_id)
            for owned, source in owners.items():
                if _as_read(owned) == alike:
                    raise _conflict(collection_id, owned, source)

    def _check_path(self, named: list[tuple[str, str | None]]) -> None:
        path = self._request.path_params
        for collection_id, item_id in named:
            for what, said, wanted in (
                ("collection", collection_id, path.get("collection_id")),
                ("item", item_id, path.get("item_id")),
            ):
                if wanted is not None and said != wanted:
                    raise InvalidRequest(
                        f"The body names {what} `{str(said)[:100]}`, the path `{wanted[:100]}`.",
                        remedy="Name the same in both: an id is never changed.",
                    )


def _named(query: str, arguments: tuple[Any, ...]) -> list[tuple[str, str | None]]:
    """The collections and items that a call of one of PgSTAC's functions writes."""
    called = _FUNCTION.match(query)
    function = called[1] if called else ""
    if function == "delete_item":
        return [(arguments[1], arguments[0])]
    if function == "delete_collection":
        return [(arguments[0], None)]
    if function not in _OF_ITEMS + _OF_COLLECTIONS:
        raise RuntimeError(f"{function or query} writes what no check covers")
    given = orjson.loads(arguments[0])
    documents = given if isinstance(given, list) else [given]
    if function in _OF_COLLECTIONS:
        return [(_text(document, "id"), None) for document in documents]
    return [(_text(document, "collection"), _text(document, "id")) for document in documents]


def _text(document: Any, key: str) -> str:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise InvalidRequest(f"`{key}` of the body is not a string.", remedy="Give it the id of the path.")
    return value


def _as_read(collection_id: str) -> str:
    """The id as a person reads it: without case, width, spaces and what is not seen."""
    seen = unicodedata.normalize("NFKC", collection_id)
    return "".join(each for each in seen if not each.isspace() and unicodedata.category(each)[0] != "C").casefold()


def _conflict(collection_id: str, owned: str, source: str) -> Conflict:
    if collection_id == owned:
        return Conflict(
            f"Collection `{owned}` is managed by source `{source}` and read-only in /stac.",
            remedy="Change the blobs or sources.yaml, or patch the item (`geo-assets items patch`); "
            "write items of your own into a collection of your own.",
        )
    return Conflict(
        f"The collection's id can be mistaken for `{owned}`, which source `{source}` manages.",
        remedy="Use an id that differs by more than case, width and spaces.",
    )
