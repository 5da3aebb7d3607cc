"""/raster: titiler-pgstac on the catalogue's items, reading blobs by the pipeline's own credential.

Here: its routes, and what they answer where the library fails. Not here: its readers (`raster_readers`), how much is
drawn (`drawing`, `raster_budget`), and what parameters may say (`raster_parameters`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import pystac
import structlog
from fastapi import APIRouter, Depends, FastAPI, Path, Request
from morecantile.errors import MorecantileError
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from rasterio.errors import RasterioError, RasterioIOError
from rio_tiler.errors import PointOutsideBounds, RioTilerError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from titiler.core.factory import AlgorithmFactory, ColorMapFactory, MultiBaseTilerFactory, TMSFactory
from titiler.mosaic.errors import MOSAIC_STATUS_CODES
from titiler.pgstac import backend, dependencies
from titiler.pgstac.errors import PGSTAC_STATUS_CODES, BackendError
from titiler.pgstac.extensions import searchInfoExtension
from titiler.pgstac.factory import MosaicTilerFactory, add_search_list_route, add_search_register_route

from geo_assets.api.blob_paths import BlobPaths
from geo_assets.api.catalogue_filters import collection_mosaic, search_to_register
from geo_assets.api.connections import as_options, discard_all, session_settings
from geo_assets.api.drawing import DrawingPlaces
from geo_assets.api.pages import page_templates
from geo_assets.api.problems import InvalidRequest, NotFound, Unreadable, correlation_id_of, problem_response
from geo_assets.api.raster_parameters import require_bounded_size, require_listable, require_readable
from geo_assets.api.raster_readers import (
    GuardedBackend,
    ItemReader,
    MosaicItemReader,
    PartParams,
    ReaderParams,
    render_stretched,
)
from geo_assets.postgres.databases import api_url
from geo_assets.postgres.logins import TILES_LOGIN
from geo_assets.settings import Settings

_CONNECTIONS = 8
_LINKS = {
    "Grids": "/raster/tileMatrixSets",
    "Algorithms": "/raster/algorithms",
    "Colour maps": "/raster/colorMaps",
    "API": "/raster/api.html",
}
# What the library and numpy raise for parameters that make no sense together, or with this raster.
_SENSELESS = (ValueError, ArithmeticError, AssertionError, IndexError, RecursionError, RasterioError)
log = structlog.get_logger("geo_assets.api")
_ITEM = "SELECT pgstac.get_item(%s, %s) AS item"


def create_raster(blob_paths: BlobPaths) -> FastAPI:
    """The application of /raster; its connections come with `raster_connections`."""
    for cache in (dependencies.ttl_cache, backend.ttl_cache):
        cache.clear()  # they know no database: what another application of this process found is not true here
    app = FastAPI(
        title="geo_assets: tiles", openapi_url="/api", docs_url="/api.html", redoc_url=None, lifespan=_no_lifespan
    )
    statuses: dict[Any, int] = {**DEFAULT_STATUS_CODES, **MOSAIC_STATUS_CODES, **PGSTAC_STATUS_CODES}
    statuses |= {RioTilerError: 400, PointOutsideBounds: 404, MorecantileError: 400}
    statuses[BackendError] = 400  # which the library raises for values that the database does not take
    add_exception_handlers(app, {kind: status for kind, status in statuses.items() if kind is not Exception})
    app.add_exception_handler(RasterioIOError, _unreadable)
    for kind in _SENSELESS:
        app.add_exception_handler(kind, _senseless)
    app.add_middleware(DrawingPlaces)
    bounded = [Depends(require_bounded_size), Depends(require_readable)]
    templates = page_templates("titiler.core", _LINKS)
    mosaics: dict[str, Any] = {
        "backend": GuardedBackend,
        "dataset_reader": type("MosaicReader", (MosaicItemReader,), {"blob_paths": blob_paths}),
        "add_statistics": True,
        "add_viewer": True,
        "add_part": True,
        "add_ogc_maps": False,
        "extensions": [searchInfoExtension()],
        "templates": templates,
        "render_func": render_stretched,
        "reader_dependency": ReaderParams,
        "img_part_dependency": PartParams,
    }
    searches = MosaicTilerFactory(
        path_dependency=dependencies.SearchIdParams, router_prefix="/searches/{search_id}", **mosaics
    )
    app.include_router(
        searches.router, tags=["Mosaic of a search"], prefix="/searches/{search_id}", dependencies=bounded
    )
    searches_list = APIRouter()
    add_search_list_route(cast(FastAPI, searches_list), prefix="/searches", tags=["Mosaic of a search"])
    app.include_router(searches_list, dependencies=[Depends(require_listable)])
    add_search_register_route(
        app, prefix="/searches", search_dependency=search_to_register, tags=["Mosaic of a search"]
    )
    collections = MosaicTilerFactory(
        path_dependency=collection_mosaic, router_prefix="/collections/{collection_id}", **mosaics
    )
    app.include_router(
        collections.router, tags=["Mosaic of a collection"], prefix="/collections/{collection_id}", dependencies=bounded
    )
    items = MultiBaseTilerFactory(
        reader=type("Reader", (ItemReader,), {"blob_paths": blob_paths}),
        path_dependency=find_item,
        router_prefix="/collections/{collection_id}/items/{item_id}",
        add_viewer=True,
        templates=templates,
        render_func=render_stretched,
        reader_dependency=ReaderParams,
        img_part_dependency=PartParams,
    )
    prefix = "/collections/{collection_id}/items/{item_id}"
    app.include_router(items.router, tags=["Item"], prefix=prefix, dependencies=bounded)
    app.include_router(TMSFactory(templates=templates).router, tags=["Tile matrix sets"])
    app.include_router(AlgorithmFactory(templates=templates).router, tags=["Algorithms"])
    app.include_router(ColorMapFactory(templates=templates).router, tags=["Colour maps"], dependencies=bounded)
    return app


@asynccontextmanager
async def raster_connections(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """Connections for ``app`` inside the block, which can read the catalogue and register searches."""
    session = session_settings(TILES_LOGIN, search_path="pgstac,public")
    pool = ConnectionPool(
        api_url(settings, TILES_LOGIN),
        min_size=0,
        max_size=_CONNECTIONS,
        timeout=5,
        reconnect_timeout=1,
        check=ConnectionPool.check_connection,
        reset=discard_all,
        kwargs={
            "options": as_options(session),
            "application_name": "geo_assets tiles",
            "connect_timeout": 5,
            "prepare_threshold": None,
        },
        open=False,
    )
    pool.open()
    app.state.dbpool = pool
    try:
        yield
    finally:
        await run_in_threadpool(pool.close)


def find_item(
    request: Request,
    collection_id: Annotated[str, Path(description="STAC Collection Identifier")],
    item_id: Annotated[str, Path(description="STAC Item Identifier")],
) -> pystac.Item:
    """The item as it is now: the library's own look-up keeps it for five minutes. Raises NotFound."""
    with request.app.state.dbpool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_ITEM, (item_id, collection_id)).fetchone()
    if row is None or row["item"] is None:
        raise NotFound(f"Collection `{collection_id}` has no item `{item_id}`.")
    return pystac.Item.from_dict(row["item"])


async def _unreadable(request: Request, _: Exception) -> Response:
    """Without GDAL's words: they may hold an address with a credential in it."""
    error = Unreadable("The blob of the asset cannot be read.")
    return problem_response(error, correlation_id=correlation_id_of(request), path=request.url.path)


async def _senseless(request: Request, error: Exception) -> Response:
    """Of GDAL's words nothing, for the same reason; the log has the traceback."""
    log.warning("senseless_request", exc_info=error)
    words = "" if isinstance(error, RasterioError) or "/" in str(error) else f": {str(error)[:200]}"
    refused = InvalidRequest(f"The raster cannot be drawn with these parameters{words}.", remedy="Check each of them.")
    return problem_response(refused, correlation_id=correlation_id_of(request), path=request.url.path)


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
