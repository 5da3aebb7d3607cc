"""/raster: titiler-pgstac on the catalogue's items, reading blobs by the pipeline's own credential.

Here: its readers, routes and limits. Not here: which blobs may be opened (`blob_paths`), drawing them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

import attr
import numpy
import pystac
import rasterio
from fastapi import Depends, FastAPI, Path, Request
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from rasterio.errors import RasterioIOError
from rio_tiler.io import Reader
from rio_tiler.types import AssetInfo, AssetType
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from titiler.core.factory import AlgorithmFactory, ColorMapFactory, MultiBaseTilerFactory, TMSFactory
from titiler.mosaic.errors import MOSAIC_STATUS_CODES
from titiler.pgstac import backend, dependencies
from titiler.pgstac.errors import PGSTAC_STATUS_CODES
from titiler.pgstac.extensions import searchInfoExtension
from titiler.pgstac.factory import MosaicTilerFactory, add_search_list_route, add_search_register_route
from titiler.pgstac.reader import PgSTACReader, SimpleSTACReader

from geo_assets.api.blob_paths import BLOB_ENVIRONMENT, BlobPaths
from geo_assets.api.catalogue_filters import collection_mosaic, search_to_register
from geo_assets.api.connections import as_options, discard_all, session_settings
from geo_assets.api.pages import page_templates
from geo_assets.api.problems import (
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    Unreadable,
    correlation_id_of,
    problem_response,
)
from geo_assets.api.stretch import StretchingReader, render_stretched
from geo_assets.databases import api_url
from geo_assets.logins import TILES_LOGIN
from geo_assets.settings import Settings

MOST_PIXELS_A_SIDE = 4096
# What GDAL takes a blob for, whatever the blob says: a VRT that is called .tif would have it open what the VRT names.
DRIVERS = {
    "image/tiff": "GTiff",
    "image/tiff; application=geotiff": "GTiff",
    "image/tiff; application=geotiff; profile=cloud-optimized": "GTiff",
    "image/jp2": "JP2OpenJPEG",
    "image/png": "PNG",
    "image/jpeg": "JPEG",
}
# A block is decoded whole: one of 72 KB in a file can be a gigabyte in memory.
MOST_BLOCK_BYTES = 128 * 1024 * 1024
# Where there are no overviews, a small picture takes every pixel.
MOST_BYTES_WITHOUT_OVERVIEWS = 1024 * 1024 * 1024
_CONNECTIONS = 8
_LINKS = {
    "Grids": "/raster/tileMatrixSets",
    "Algorithms": "/raster/algorithms",
    "Colour maps": "/raster/colorMaps",
    "API": "/raster/api.html",
}
_ITEM = "SELECT pgstac.get_item(%s, %s) AS item"


@attr.s
class GuardedReader(StretchingReader):
    """A reader of one blob by one driver, which refuses what would bloat in memory."""

    driver: str = attr.ib(default="GTiff", kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.dataset is None:
            self.dataset: Any = self._ctx_stack.enter_context(rasterio.open(self.input, driver=self.driver))
            _require_drawable(self.dataset)
        super().__attrs_post_init__()


@attr.s
class ItemReader(PgSTACReader):
    """An item's assets, opened only where `BlobPaths` lets them be."""

    include_asset_types: set[str] = attr.ib(factory=lambda: set(DRIVERS))
    reader: type[Reader] = attr.ib(default=GuardedReader)
    blob_paths: ClassVar[BlobPaths]

    def __attrs_post_init__(self) -> None:
        """A thumbnail is a picture for people and lies nowhere on the globe, so it is none of the assets drawn."""
        super().__attrs_post_init__()  # type: ignore[no-untyped-call]
        assets = self.input.assets
        self.assets = [name for name in self.assets if "thumbnail" not in (assets[name].roles or ())]

    def _get_asset_info(self, asset: AssetType) -> AssetInfo:
        return _guarded(super()._get_asset_info(asset), self.blob_paths)


@attr.s
class MosaicItemReader(SimpleSTACReader):
    """The same for the items of a mosaic."""

    reader: type[Reader] = attr.ib(default=GuardedReader)
    blob_paths: ClassVar[BlobPaths]

    def _get_asset_info(self, asset: AssetType) -> AssetInfo:
        return _guarded(super()._get_asset_info(asset), self.blob_paths)


def create_raster(blob_paths: BlobPaths) -> FastAPI:
    """The application of /raster; its connections come with `raster_connections`."""
    for cache in (dependencies.ttl_cache, backend.ttl_cache):
        cache.clear()  # they know no database: what another application of this process found is not true here
    app = FastAPI(
        title="geo_assets: tiles", openapi_url="/api", docs_url="/api.html", redoc_url=None, lifespan=_no_lifespan
    )
    statuses: dict[Any, int] = {**DEFAULT_STATUS_CODES, **MOSAIC_STATUS_CODES, **PGSTAC_STATUS_CODES}
    add_exception_handlers(app, {kind: status for kind, status in statuses.items() if kind is not Exception})
    app.add_exception_handler(RasterioIOError, _unreadable)
    bounded = [Depends(require_bounded_size)]
    templates = page_templates("titiler.core", _LINKS)
    mosaics: dict[str, Any] = {
        "dataset_reader": type("MosaicReader", (MosaicItemReader,), {"blob_paths": blob_paths}),
        "add_statistics": True,
        "add_viewer": True,
        "add_part": True,
        "add_ogc_maps": False,
        "extensions": [searchInfoExtension()],
        "templates": templates,
        "render_func": render_stretched,
    }
    searches = MosaicTilerFactory(
        path_dependency=dependencies.SearchIdParams, router_prefix="/searches/{search_id}", **mosaics
    )
    app.include_router(
        searches.router, tags=["Mosaic of a search"], prefix="/searches/{search_id}", dependencies=bounded
    )
    add_search_list_route(app, prefix="/searches", tags=["Mosaic of a search"])
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
    )
    prefix = "/collections/{collection_id}/items/{item_id}"
    app.include_router(items.router, tags=["Item"], prefix=prefix, dependencies=bounded)
    app.include_router(TMSFactory(templates=templates).router, tags=["Tile matrix sets"])
    app.include_router(AlgorithmFactory(templates=templates).router, tags=["Algorithms"])
    app.include_router(ColorMapFactory(templates=templates).router, tags=["Colour maps"])
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
        raise NotFound(f"there is no item {item_id} in the collection {collection_id}.")
    return pystac.Item.from_dict(row["item"])


def require_bounded_size(request: Request) -> None:
    """Raise RequestTooLarge for a picture with a side of more than `MOST_PIXELS_A_SIDE` pixels."""
    sides = [request.query_params.get(name) for name in ("width", "height", "max_size", "tilesize", "buffer")]
    sides += [request.path_params.get(name) for name in ("width", "height")]
    if any(side and side.lstrip("+").isdigit() and int(side) > MOST_PIXELS_A_SIDE for side in map(_text, sides)):
        raise RequestTooLarge(f"a picture has at most {MOST_PIXELS_A_SIDE:,} pixels a side.", remedy="Ask for tiles.")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _guarded(info: AssetInfo, blob_paths: BlobPaths) -> AssetInfo:
    """The asset with a path that GDAL may open, in place of its address. Raises Forbidden where it has none."""
    blob = blob_paths.of(info["url"])
    driver = DRIVERS.get(str(info.get("media_type") or "image/tiff"))
    if driver is None:
        raise InvalidRequest(
            f"the asset {info['name']} is of a type that is not drawn.", remedy="See the item's assets."
        )
    guarded: AssetInfo = {
        **info,
        "url": blob.path,
        "env": {**info.get("env", {}), **BLOB_ENVIRONMENT, **blob.options},
        "reader_options": {**info.get("reader_options", {}), "driver": driver},
    }
    return guarded


def _require_drawable(dataset: Any) -> None:
    item_bytes = max(numpy.dtype(dtype).itemsize for dtype in dataset.dtypes)
    bands = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    block_bytes = max(height * width for height, width in dataset.block_shapes) * item_bytes * bands
    if block_bytes > MOST_BLOCK_BYTES:
        raise RequestTooLarge(
            f"a block of the raster takes {block_bytes:,} bytes of memory.", remedy="Rewrite it with smaller blocks."
        )
    pixels = dataset.width * dataset.height * dataset.count * item_bytes
    if pixels > MOST_BYTES_WITHOUT_OVERVIEWS and not dataset.overviews(1):
        raise RequestTooLarge(f"the raster has {pixels:,} bytes and no overviews.", remedy="Make it a COG.")


async def _unreadable(request: Request, _: Exception) -> Response:
    """Without GDAL's words: they may hold an address with a credential in it."""
    error = Unreadable("the blob of the asset cannot be read.")
    return problem_response(error, correlation_id=correlation_id_of(request), path=request.url.path)


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
