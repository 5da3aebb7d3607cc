"""/features: tipg on the tables that vector files became, and on no other table.

Here: its settings, connections, what it reads of a request by itself, and when its list of tables is made anew. Not
here: OGC API Features and Tiles, which the library serves; filters as SQL (`table_filters`).
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, FastAPI, Query
from morecantile.errors import MorecantileError
from starlette.requests import Request
from tipg import dependencies
from tipg.collections import Catalog, Collection, pg_get_collection_index
from tipg.database import DB_CATALOG_FILE
from tipg.errors import (
    DEFAULT_STATUS_CODES,
    InvalidBBox,
    InvalidPropertyName,
    MissingDatetimeColumn,
    MissingGeometryColumn,
    add_exception_handlers,
)
from tipg.factory import Endpoints
from tipg.settings import DatabaseSettings

from geo_assets.api.connections import open_pool
from geo_assets.api.cql2.expression import read_filter
from geo_assets.api.pages import page_templates
from geo_assets.api.table_filters import TableFilter, require_times
from geo_assets.api.table_pages import PagedCollection, note_form
from geo_assets.ledger.statements import read_sql
from geo_assets.postgres.logins import FEATURES_LOGIN
from geo_assets.settings import Settings

LOOK_SECONDS = 2.0
_CONNECTIONS = 6
# What a caller asked wrongly, which the library would call the server's failure.
_REFUSED: dict[type[Exception], int] = dict.fromkeys(
    (MissingGeometryColumn, MissingDatetimeColumn, MorecantileError, OverflowError), 400
)
_LINKS = {
    "Features": "/features/",
    "Collections": "/features/collections",
    "Conformance": "/features/conformance",
    "API": "/features/api.html",
}
_NONE = "geo_assets_no_such_table"
_CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
CQL2_CLASSES = (
    "cql2-text",
    "cql2-json",
    "basic-cql2",
    "advanced-comparison-operators",
    "case-insensitive-comparison",
    "accent-insensitive-comparison",
    "basic-spatial-functions",
    "basic-spatial-functions-plus",
    "spatial-functions",
    "temporal-functions",
    "array-functions",
    "property-property",
    "arithmetic",
)
"""The conformance classes of CQL2 that filters of tables have: all but `functions`."""


class FilteredEndpoints(Endpoints):
    """The library's routes, which say what their filters can."""

    @property
    def conforms_to(self) -> list[str]:
        """The library's classes, and those of CQL2."""
        return [*super().conforms_to, *(f"{_CQL2}/{name}" for name in CQL2_CLASSES)]


class CurrentTables:
    """A dependency of every route: looks at most every `LOOK_SECONDS` whether tables were loaded or dropped."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._stamp: Any = None

    async def __call__(self, request: Request) -> None:
        """Have the request served from a list of tables that is at most `LOOK_SECONDS` old."""
        note_form(request)
        if time.monotonic() - self._looked_at <= LOOK_SECONDS:
            return
        async with request.app.state.pool.acquire(timeout=10) as connection:
            row = await connection.fetchrow(read_sql("select_published_tables"))
            if row["stamp"] != self._stamp:
                request.app.state.collection_catalog = await _catalog(connection, row["tables"])
                self._stamp = row["stamp"]
        self._looked_at = time.monotonic()


def create_features() -> FastAPI:
    """The application of /features; its connections come with `features_connections`."""
    app = FastAPI(
        title="geo_assets: features", openapi_url="/api", docs_url="/api.html", redoc_url=None, lifespan=_no_lifespan
    )
    endpoints = FilteredEndpoints(title="geo_assets: features", templates=page_templates("tipg", _LINKS))
    app.include_router(endpoints.router, dependencies=[Depends(CurrentTables())])
    app.dependency_overrides |= {
        dependencies.filter_query: filter_of_table,
        dependencies.bbox_query: bbox_of_query,
        dependencies.datetime_query: times_of_query,
        dependencies.sortby_query: sortby_of_query,
    }
    add_exception_handlers(app, {**DEFAULT_STATUS_CODES, **_REFUSED})
    app.state.collection_catalog = _no_tables()
    return app


@asynccontextmanager
async def features_connections(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """Connections for ``app`` inside the block, which can only read the tables of vector files."""
    session = {"search_path": "public", "application_name": "geo_assets features", "timezone": "UTC"}
    async with open_pool(settings, FEATURES_LOGIN, most=_CONNECTIONS, **session) as pool:
        app.state.pool = pool
        yield


def filter_of_table(
    query: Annotated[str | None, Query(description="CQL2 Filter", alias="filter")] = None,
    crs: Annotated[str | None, Query(description="CRS of the filter's geometries", alias="filter-crs")] = None,
) -> TableFilter | None:
    """The filter, whatever `filter-lang` says: its text says by itself which encoding it is. Raises InvalidFilter."""
    return None if query is None else TableFilter(read_filter(query), crs)


def bbox_of_query(bbox: Annotated[str | None, Query(description="Spatial Filter.")] = None) -> list[float] | None:
    """The box, as the library reads it. Raises InvalidBBox for what is no number, or has no end."""
    try:
        bounds: list[float] | None = dependencies.bbox_query(bbox)
    except ValueError as error:
        raise InvalidBBox("A bbox has four or six numbers, with commas between them.") from error
    if bounds is not None and not all(abs(bound) < float("inf") for bound in bounds):
        raise InvalidBBox("A bbox has finite numbers.")
    return bounds


def times_of_query(
    datetime: Annotated[str | None, Query(description="Temporal Filter.")] = None,
) -> list[str] | None:
    """The instant or the two ends of an interval, as texts. Raises InvalidDatetime for what is neither."""
    times = datetime.split("/") if datetime else None
    if times is not None:
        require_times(times)
    return times


def sortby_of_query(sortby: Annotated[str | None, Query(description="Columns to sort by.")] = None) -> str | None:
    """The names to sort by, each of which the library looks up. Raises InvalidPropertyName for more than one line."""
    if sortby is not None and len(sortby.splitlines()) > 1:
        raise InvalidPropertyName("A name to sort by has one line.")
    return sortby


async def _catalog(connection: asyncpg.Connection, names: list[str]) -> Catalog:
    """The library's list of these tables, named with their schemas.

    It asks by functions of its own, which are there for as long as this takes.
    """
    if not names:
        return _no_tables()
    settings = DatabaseSettings(
        _env_file=None,
        schemas=sorted({name.partition(".")[0] for name in names}),
        tables=names,
        functions=[_NONE],
        only_spatial_tables=False,
    )
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET TRANSACTION READ WRITE")
        await connection.execute(DB_CATALOG_FILE.read_text("utf-8"))
        found = await pg_get_collection_index(connection, settings=settings)
    finally:
        await transaction.rollback()
    tables: dict[str, Collection] = {
        each.id: PagedCollection.model_validate(each.model_dump(by_alias=True))
        for each in found
        if each.type == "Table"
    }
    return Catalog(collections=tables, last_updated=datetime.now(UTC))


def _no_tables() -> Catalog:
    return Catalog(collections={}, last_updated=datetime.now(UTC))


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
