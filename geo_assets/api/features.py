"""/features: tipg on the tables that vector files became, and on no other table.

Here: its settings, connections, what it reads of a request on its own, and when its list of tables is rebuilt. Not
here: OGC API Features and Tiles, which the library serves; filters as SQL (`table_filters`).
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import Depends, FastAPI, Query
from morecantile.errors import MorecantileError
from starlette.requests import Request
from tipg import dependencies
from tipg.collections import Catalog, Collection, Column, Feature, pg_get_collection_index
from tipg.database import DB_CATALOG_FILE
from tipg.dependencies import ItemsOutputType
from tipg.errors import (
    DEFAULT_STATUS_CODES,
    InvalidBBox,
    InvalidPropertyName,
    MissingDatetimeColumn,
    MissingGeometryColumn,
    add_exception_handlers,
)
from tipg.factory import Endpoints
from tipg.resources.enums import MediaType
from tipg.settings import DatabaseSettings

from geo_assets.api.connections import open_pool
from geo_assets.api.cql2.expression import read_filter
from geo_assets.api.pages import page_templates
from geo_assets.api.problems import RequestTooLarge
from geo_assets.api.table_filters import FilteredCollection, TableFilter, require_times
from geo_assets.ledger.database import read_sql
from geo_assets.postgres.logins import FEATURES_LOGIN
from geo_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class PageLimits:
    """The most characters of one answer. ``leads_on`` says whether its form has a place for the link to the next."""

    page: int = 8_000_000
    """Of all features but the first."""
    feature: int = 64_000_000
    """Of a feature, which no page can part."""
    leads_on: bool = True


DATA = PageLimits()
TABLE = PageLimits(leads_on=False)
HTML = PageLimits(page=2_000_000, feature=4_000_000)
"""A page for people takes a second for five million."""
_FETCHED_AT_ONCE = 8
_FORMS = {None: DATA, MediaType.geojson: DATA, MediaType.html: HTML}
_limits: ContextVar[PageLimits] = ContextVar("limits_of_page", default=DATA)


def note_form(request: Request) -> None:
    """Note how large the answer to this request may be, by its form."""
    asked = request.query_params.get("f")
    form = MediaType.__members__.get(asked) if asked else ItemsOutputType(request)
    _limits.set(_FORMS.get(form, TABLE))


class PagedCollection(FilteredCollection):
    """A table whose pages end where they would be too large."""

    def _select(
        self,
        properties: list[str] | None,
        geometry_column: Column | None,
        bbox_only: bool | None,
        simplify: float | None,
        geom_as_wkt: bool = False,
    ) -> str:
        shape = self._geom_expr(geometry_column, bbox_only, simplify) or "NULL::geometry"
        text = f"ST_AsEWKT({shape})" if geom_as_wkt else f"ST_AsGeoJSON({shape})::json::text"
        return ", ".join(
            [
                "SELECT " + ", ".join([*self._select_property_columns(properties), self._select_id()]),
                f"{text} AS tipg_geom",
            ]
        )

    async def _features_query(
        self,
        conn: asyncpg.Connection,
        *,
        where: Any = None,
        sortby: str | None = None,
        properties: list[str] | None = None,
        geom: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        bbox_only: bool | None = None,
        simplify: float | None = None,
        geom_as_wkt: bool = False,
        function_parameters: dict[str, str] | None,
    ) -> AsyncIterator[Feature]:
        """The features of one page. Raises RequestTooLarge for one too large, or for a page that says not where on."""
        parameters: list[Any] = []
        statement = " ".join(
            [
                self._select(properties, self.get_geometry_column(geom), bbox_only, simplify, geom_as_wkt),
                self._from(function_parameters, parameters),
                self._where_clause(where),
                self._sortby(sortby),
                f"LIMIT {int(limit or 0)} OFFSET {int(offset or 0)}",
            ]
        )
        limits = _limits.get()
        found = characters = 0
        async with conn.transaction():
            cursor = await conn.cursor(statement, *parameters)
            while rows := await cursor.fetch(_FETCHED_AT_ONCE):
                for row in rows:
                    size = _characters(row)
                    characters += size
                    if size > limits.feature:
                        raise _too_large_alone(row["tipg_id"], size, limits.feature)
                    if found and characters > limits.page:
                        if not limits.leads_on:
                            raise _too_large(limits.page, found, int(offset or 0))
                        return
                    found += 1
                    yield _feature(row, is_json=not geom_as_wkt)


def _feature(row: Mapping[str, Any], *, is_json: bool) -> Feature:
    """A feature of the library, whose geometry is text that is JSON already: as numbers it takes ten times as much."""
    values = dict(row)
    shape, feature_id = values.pop("tipg_geom"), values.pop("tipg_id")
    geometry: Any = orjson.Fragment(shape) if is_json and shape is not None else shape
    return Feature(type="Feature", geometry=geometry, id=feature_id, properties=values)


def _characters(row: Mapping[str, Any]) -> int:
    return sum(len(value if isinstance(value, str | bytes) else repr(value)) for value in row.values())


def _too_large_alone(feature_id: Any, size: int, most: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The feature {feature_id} has {size:,} characters; at most {most:,} are sent.",
        remedy="Ask for GeoJSON, with `simplify`, with `bbox-only` or for fewer `properties`.",
    )


def _too_large(most: int, found: int, offset: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"What is asked for has more than {most:,} characters; the first {found:,} features have fewer.",
        remedy=f"Ask with limit={found}, and then with offset={offset + found}; or for GeoJSON, whose pages lead on.",
    )


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
    """A dependency of every route: checks, at most every `LOOK_SECONDS`, whether tables were loaded or dropped."""

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
    """The filter, whatever `filter-lang` says: its text alone tells its encoding. Raises InvalidFilter."""
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
