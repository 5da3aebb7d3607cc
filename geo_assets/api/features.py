"""/features: tipg on the tables that vector files became, and on no other table.

Here: its settings, connections, and when its list of tables is made anew. Not here: OGC API Features and Tiles, which
the library serves.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import cql2
import jinja2
from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.templating import Jinja2Templates
from tipg.collections import Catalog, register_collection_catalog
from tipg.database import connect_to_db
from tipg.errors import DEFAULT_STATUS_CODES, MissingDatetimeColumn, MissingGeometryColumn, add_exception_handlers
from tipg.factory import Endpoints
from tipg.settings import DatabaseSettings, PostgresSettings

from geo_assets.databases import READER_ROLE
from geo_assets.resources.statements import read_sql

LOOK_SECONDS = 2.0
_CONNECTIONS = 6
# What a caller asked wrongly, which the library would call the server's failure.
_REFUSED = dict.fromkeys((cql2.ParseError, cql2.ValidationError, MissingGeometryColumn, MissingDatetimeColumn), 400)
_NONE = "geo_assets_no_such_table"


class CurrentTables:
    """A dependency of every route: looks at most every `LOOK_SECONDS` whether tables were loaded or dropped."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._stamp: Any = None

    async def __call__(self, request: Request) -> None:
        """Have the request served from a list of tables that is at most `LOOK_SECONDS` old."""
        if time.monotonic() - self._looked_at <= LOOK_SECONDS:
            return
        async with request.app.state.pool.acquire(timeout=10) as connection:
            row = await connection.fetchrow(read_sql("select_published_tables"))
        if row["stamp"] != self._stamp:
            await _publish(request.app, row["tables"])
            self._stamp = row["stamp"]
        self._looked_at = time.monotonic()


def create_features() -> FastAPI:
    """The application of /features; its connections come with `features_connections`."""
    app = FastAPI(
        title="geo_assets: features", openapi_url="/api", docs_url="/api.html", redoc_url=None, lifespan=_no_lifespan
    )
    environment = jinja2.Environment(loader=jinja2.PackageLoader("tipg", "templates"), autoescape=True)
    endpoints = Endpoints(title="geo_assets: features", templates=Jinja2Templates(env=environment))
    app.include_router(endpoints.router, dependencies=[Depends(require_readable_filter), Depends(CurrentTables())])
    add_exception_handlers(app, {**DEFAULT_STATUS_CODES, **_REFUSED})
    app.state.collection_catalog = _no_tables()
    return app


@asynccontextmanager
async def features_connections(app: FastAPI, database_url: str) -> AsyncIterator[None]:
    """Connections for ``app`` inside the block, which can only read."""
    settings = PostgresSettings(
        _env_file=None, database_url=database_url, db_min_conn_size=0, db_max_conn_size=_CONNECTIONS
    )
    server = {"role": READER_ROLE, "application_name": "geo_assets features", "jit": "off", "statement_timeout": "30s"}
    await connect_to_db(app, schemas=["public"], settings=settings, server_settings=server, timeout=5)
    try:
        yield
    finally:
        await app.state.pool.close()


def require_readable_filter(request: Request) -> None:
    """Raise cql2's ParseError for a filter that is no CQL2: where the library reads it, any Exception would come."""
    text = request.query_params.get("filter")
    if text is not None:
        (cql2.parse_json if text.lstrip().startswith("{") else cql2.parse_text)(text)


async def _publish(app: FastAPI, tables: list[str]) -> None:
    """List these tables, named with their schemas."""
    if not tables:
        app.state.collection_catalog = _no_tables()
        return
    settings = DatabaseSettings(
        _env_file=None,
        schemas=sorted({table.partition(".")[0] for table in tables}),
        tables=tables,
        functions=[_NONE],
        only_spatial_tables=False,
    )
    await register_collection_catalog(app, db_settings=settings)


def _no_tables() -> Catalog:
    return Catalog(collections={}, last_updated=datetime.now(UTC))


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
