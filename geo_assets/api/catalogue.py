"""/stac: stac-fastapi-pgstac on the catalogue, with transactions that keep the census true.

Here: its settings, connections and links. Not here: STAC itself, which the library serves, and what may be written
(`ownership`).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Literal
from urllib.parse import unquote_plus

import asyncpg
import orjson
from fastapi import FastAPI, Request
from stac_fastapi.extensions.free_text import FreeTextConformanceClasses
from stac_fastapi.extensions.query import QueryConformanceClasses
from stac_fastapi.extensions.sort import ItemCollectionSortExtension, SearchSortExtension, SortConformanceClasses
from stac_fastapi.pgstac.app import instantiate_api
from stac_fastapi.pgstac.config import Settings as StacSettings
from stac_fastapi.pgstac.core import CoreCrudClient, health_check
from stac_fastapi.pgstac.db import translate_pgstac_errors
from stac_fastapi.pgstac.extensions import FreeTextExtension
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from geo_assets.api.catalogue_search import (
    WholeQueryExtension,
    aggregation_extension,
    aggregation_links,
    read_catalogue_filter,
    with_allowed_filter,
)
from geo_assets.api.connections import FairPool, open_pool
from geo_assets.api.ownership import CheckedWrites, TransactionExtensions
from geo_assets.api.problems import InvalidRequest
from geo_assets.postgres.logins import STAC_LOGIN, TRANSACTIONS_LOGIN
from geo_assets.settings import Settings
from geo_assets.sources.source import Source

_READERS, _WRITERS = 12, 4
_TITLE = "geo_assets"
_GEOJSON = "application/geo+json"
_RASTER_TYPES = ("image/tiff", "image/jp2", "image/png", "image/jpeg")


class LinkedClient(CoreCrudClient):  # type: ignore[misc]
    """The library's client, whose items say where their pixels or features are, and whose links all have titles."""

    async def get_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """The collection, as the library finds it."""
        return _titled(await super().get_collection(collection_id, request=request, **kwargs))

    async def all_collections(self, request: Request, **kwargs: Any) -> Any:
        """The collections, as the library finds them."""
        _require_json(kwargs)
        found = await super().all_collections(request, **kwargs)
        if isinstance(found, dict):  # not with `fields`: then it is a response already
            found["collections"] = [_titled(collection) for collection in found["collections"]]
        return found

    async def get_search(self, request: Request, **kwargs: Any) -> Response:
        """What a search found."""
        _require_json(kwargs)
        return _as_geojson(await super().get_search(request, **kwargs))

    async def post_search(self, search_request: Any, request: Request, **kwargs: Any) -> Response:
        """What a search found."""
        return _as_geojson(await super().post_search(search_request, request, **kwargs))

    async def item_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Response:
        """The items of a collection."""
        _require_json(kwargs)
        return _as_geojson(await super().item_collection(collection_id, request, **kwargs))

    def _clean_search_args(
        self, base_args: dict[str, Any], filter_query: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The library's, which does not read the filter: it would as cql2 does, which a long one ends."""
        if filter_query:
            base_args |= {"filter": read_catalogue_filter(filter_query), "filter_lang": "cql2-json"}
        cleaned: dict[str, Any] = super()._clean_search_args(base_args, **kwargs)
        return cleaned

    async def _search_base(self, search_request: Any, request: Request) -> Any:
        found = await super()._search_base(with_allowed_filter(search_request), request)
        root = str(request.base_url).removesuffix("/").removesuffix("/stac")
        for item in found["features"]:
            if "links" in item and "assets" in item and item.get("collection") and item.get("id"):
                item["links"] += raster_links(item, root) + table_links(item, root)
        return found


def raster_links(item: dict[str, Any], root: str) -> list[dict[str, str]]:
    """Links to picture, tiles and figures of an item's COG, or of the first asset that can be drawn; none without."""
    drawable = [name for name, asset in item["assets"].items() if _is_drawn(asset)]
    drawn = "cog" if "cog" in drawable else next(iter(drawable), None)
    if drawn is None:
        return []
    place = f"{root}/raster/collections/{item['collection']}/items/{item['id']}"
    return [
        {
            "rel": "preview",
            "type": "image/png",
            "title": "Picture",
            "href": f"{place}/preview.png?assets={drawn}&max_size=512",
        },
        {
            "rel": "tilejson",
            "type": "application/json",
            "title": "Tiles",
            "href": f"{place}/WebMercatorQuad/tilejson.json?assets={drawn}",
        },
        {"rel": "raster-info", "type": "application/json", "title": "Raster", "href": f"{place}/info?assets={drawn}"},
    ]


def table_links(item: dict[str, Any], root: str) -> list[dict[str, str]]:
    """Links to the features and vector tiles of an item whose layer is a table; none without."""
    table = item.get("properties", {}).get("geo_assets:table")
    if not isinstance(table, str):
        return []
    place = f"{root}/features/collections/{table}"
    return [
        {"rel": "items", "type": "application/geo+json", "title": "Features", "href": f"{place}/items"},
        {
            "rel": "tilejson",
            "type": "application/json",
            "title": "Vector tiles",
            "href": f"{place}/tiles/WebMercatorQuad/tilejson.json",
        },
    ]


def create_stac(sources: Callable[[], Mapping[str, Source]]) -> FastAPI:
    """The application of /stac, for these declared sources; its connections come with `stac_connections`."""
    settings = StacSettings(
        _env_file=None,
        stac_fastapi_title=_TITLE,
        stac_fastapi_description="Every blob of a source has one STAC item, or one recorded reason why not.",
        stac_fastapi_landing_id="geo_assets",
        stac_fastapi_version=version("geo_assets"),
        enable_transactions_extensions=True,
        openapi_url="/api",
        docs_url="/api.html",
        root_path="",
        prefix_path="",
        cors_origins=(),
    )
    app: FastAPI = instantiate_api(
        client=LinkedClient,
        extensions=_extensions(settings),
        lifespan=_no_lifespan,
        settings=settings,
    ).app
    _mask_health(app)
    app.state.sources = sources
    return app


def _mask_health(app: FastAPI) -> None:
    """Have the library's own look at the database say that it is down, and not in the words of the database."""

    async def health(request: Request) -> Response:
        found = await health_check(request)
        if isinstance(found, Response):
            return JSONResponse({"status": "DOWN", "pgstac": {"status": "DOWN"}}, found.status_code)
        return JSONResponse(found)

    app.router.routes.insert(0, Route("/_mgmt/health", health))


def _extensions(settings: StacSettings) -> TransactionExtensions:
    """The library's extensions, with all of `query`, free text for items too, and the `sort` that clients know."""
    stable = "https://api.stacspec.org/v1.0.0"
    extensions = TransactionExtensions(
        settings=settings,
        search_map={
            "query": WholeQueryExtension(conformance_classes=[QueryConformanceClasses.SEARCH]),
            "sort": SearchSortExtension(
                conformance_classes=[SortConformanceClasses.ITEM_SEARCH_SORT, f"{stable}/item-search#sort"]
            ),
            "free_text": FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.SEARCH]),
        },
        item_collection_map={
            "query": WholeQueryExtension(conformance_classes=[QueryConformanceClasses.ITEMS]),
            "sort": ItemCollectionSortExtension(
                conformance_classes=[SortConformanceClasses.FEATURES_SORT, f"{stable}/ogcapi-features#sort"]
            ),
            "free_text": FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.ITEMS]),
        },
    )
    meaning = [extensions.search_map[name] for name in ("query", "filter", "free_text")]
    extensions.extra_map["aggregation"] = aggregation_extension(meaning)
    return extensions


@asynccontextmanager
async def stac_connections(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    """Connections for ``app`` inside the block: readers that cannot write, and writers."""
    async with (
        _pool(settings, STAC_LOGIN, most=_READERS, **{"pgstac.readonly": "true"}) as readers,
        _pool(settings, TRANSACTIONS_LOGIN, most=_WRITERS) as writers,
    ):
        app.state.readpool, app.state.writepool, app.state.get_connection = readers, writers, _connection
        yield


@asynccontextmanager
async def _pool(settings: Settings, login: str, *, most: int, **further: str) -> AsyncIterator[FairPool]:
    session = {"search_path": "pgstac,public", "application_name": "geo_assets api", **further}
    async with open_pool(settings, login, most=most, **session) as pool:
        yield FairPool(pool, most)


@asynccontextmanager
async def _connection(
    request: Request, readwrite: Literal["r", "w"] = "r"
) -> AsyncIterator[asyncpg.Connection | CheckedWrites]:
    """A connection for one request: a reader, or a writer in a transaction that also records who wrote what."""
    pool = request.app.state.readpool if readwrite == "r" else request.app.state.writepool
    with translate_pgstac_errors():
        async with pool.acquire() as connection:
            if readwrite == "r":
                yield connection
                return
            async with connection.transaction():
                writes = CheckedWrites(request, connection)
                await writes.check_path()
                yield writes
                await writes.record()


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


def _require_json(given: dict[str, Any]) -> None:
    """Raise InvalidRequest where a parameter that the library reads as an object of JSON is none."""
    for name in ("query", "intersects"):
        text = given.get(name)
        if not isinstance(text, str):
            continue
        try:
            is_object = isinstance(orjson.loads(unquote_plus(text)), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise InvalidRequest(f"The parameter {name} is no JSON object.")


def _as_geojson(found: Any) -> Response:
    """What was found, written here: FastAPI would walk through all of it first, for a third of a search's time."""
    if isinstance(found, Response):  # with `fields`, and called mere JSON by the library
        found.headers["content-type"] = _GEOJSON
        return found
    return Response(orjson.dumps(found), media_type=_GEOJSON)


def _titled(collection: dict[str, Any]) -> dict[str, Any]:
    """The collection with links to its aggregations, and titles for those that the library gives none."""
    own = collection.get("title") or collection.get("id", "")
    titles = {"self": own, "items": f"Items of {own}", "parent": _TITLE, "root": _TITLE}
    links = collection.get("links", [])
    items = next((link["href"] for link in links if link["rel"] == "items"), None)
    if items is not None:
        links += aggregation_links(items.removesuffix("/items"))
    for link in links:
        link.setdefault("title", titles.get(link["rel"], link["rel"]))
    return collection


def _is_drawn(asset: dict[str, Any]) -> bool:
    return str(asset.get("type", "")).startswith(_RASTER_TYPES) and "thumbnail" not in asset.get("roles", ())
