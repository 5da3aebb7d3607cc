"""/raster: titiler-pgstac on the catalogue's items, reading blobs by the pipeline's own credential.

Here: its routes, what they answer where the library fails, and what requests for pictures may say: sizes as the library
reads them, and what it would fail at, by name, checked before anything is opened. Not here: its readers
(`raster_readers`), what a picture costs, which depends on the raster too (`raster_cost`), and how much is drawn
(`drawing`).
"""

import ast
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import pystac
import structlog
from color_operations import parse_operations
from fastapi import APIRouter, Depends, FastAPI, Path, Request
from morecantile.errors import MorecantileError
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, Field, ValidationError
from rasterio.errors import RasterioError, RasterioIOError
from rio_tiler.errors import PointOutsideBounds, RioTilerError
from rio_tiler.expression import get_expression_blocks, validate_expression
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from titiler.core.factory import AlgorithmFactory, ColorMapFactory, MultiBaseTilerFactory, TMSFactory
from titiler.mosaic.errors import MOSAIC_STATUS_CODES
from titiler.pgstac import backend, dependencies
from titiler.pgstac.errors import PGSTAC_STATUS_CODES, BackendError
from titiler.pgstac.extensions import searchInfoExtension
from titiler.pgstac.factory import MosaicTilerFactory, add_search_list_route, add_search_register_route

from geo_assets.api.catalogue_search import collection_mosaic, search_to_register
from geo_assets.api.connections import as_options, discard_all, session_settings
from geo_assets.api.drawing import MOST_PIXELS_A_SIDE, DrawingPlaces
from geo_assets.api.pages import page_templates
from geo_assets.api.problems import (
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    Unreadable,
    correlation_id_of,
    problem_response,
)
from geo_assets.api.raster_cost import FARTHEST
from geo_assets.api.raster_readers import (
    BlobPaths,
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

MOST_EXPRESSION_CHARACTERS = 1000
MOST_EXPRESSION_BANDS = 12
MOST_EXPRESSION_OUTPUTS = 16
MOST_COLORMAP_CHARACTERS = 32_000
MOST_ALGORITHM_STEPS = 1000
MOST_LISTED = 64
_SIDE = Field(le=MOST_PIXELS_A_SIDE)
_NEVER_SHOWN = 64
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
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


class Sizes(BaseModel):
    """Every parameter that makes a picture or a search larger, read by the rules that the library reads it by."""

    width: Annotated[int | None, _SIDE] = None
    height: Annotated[int | None, _SIDE] = None
    max_size: Annotated[int | None, _SIDE] = None
    tilesize: Annotated[int | None, _SIDE] = None
    buffer: Annotated[float | None, Field(le=MOST_PIXELS_A_SIDE / 2)] = None
    padding: Annotated[int | None, Field(le=MOST_PIXELS_A_SIDE / 2)] = None
    cover_scale: Annotated[int | None, Field(le=1000)] = None
    items_limit: Annotated[int | None, Field(le=250)] = None
    scan_limit: Annotated[int | None, Field(le=10_000)] = None
    time_limit: Annotated[int | None, Field(le=30)] = None
    minzoom: Annotated[int | None, Field(le=40)] = None
    maxzoom: Annotated[int | None, Field(le=40)] = None
    z: Annotated[int | None, Field(le=40)] = None


def require_bounded_size(request: Request) -> None:
    """Raise RequestTooLarge for a size above its limit; one that cannot be read is the library's to refuse."""
    given = {name: request.query_params[name] for name in Sizes.model_fields if name in request.query_params}
    given |= {name: value for name, value in request.path_params.items() if name in Sizes.model_fields}
    _require_on_earth(request.path_params)
    for error in errors_of(given):
        if error["type"] == "less_than_equal":
            name, most = error["loc"][0], error["ctx"]["le"]
            raise RequestTooLarge(
                f"`{name}` is {_short(given[str(name)])}; at most {most:,g} is allowed.",
                remedy="Ask for less; a map asks for tiles.",
            )


def _require_on_earth(given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for a tile or a coordinate far out: PROJ goes round the Earth for it, turn by turn."""
    level = min(40, max(0, int(given["z"]))) if str(given.get("z", "")).lstrip("-").isdigit() else 0
    most = {"x": 2 ** (level + 10), "y": 2 ** (level + 10)}
    most |= dict.fromkeys(("minx", "miny", "maxx", "maxy", "lon", "lat"), int(FARTHEST))
    for name in most.keys() & given.keys():
        try:
            value = float(given[name])
        except ValueError:
            continue  # which the library says
        if not abs(value) <= most[name]:
            raise InvalidRequest(f"`{name}` is {_short(given[name])}, which is nowhere.")


def errors_of(given: Mapping[str, Any]) -> list[Any]:
    """What pydantic has to say of these sizes."""
    try:
        Sizes.model_validate(dict(given))
    except ValidationError as error:
        return error.errors()
    return []


def require_readable(request: Request) -> None:
    """Raise InvalidRequest for a parameter that the library would fail at, with its name and what is wrong."""
    query = request.query_params
    for text in (*query.getlist("expression"), *_asset_expressions(query.getlist("assets"))):
        check_expression(text)
    if max(len(query.getlist(name)) for name in ("assets", "rescale", "p", "c", "bidx")) > MOST_LISTED:
        raise InvalidRequest(f"A parameter is repeated more than {MOST_LISTED} times.")
    for name, check in _CHECKS.items():
        for text in query.getlist(name):
            try:
                check(text)
            except (ValueError, TypeError, KeyError, ArithmeticError, AssertionError, RecursionError) as error:
                raise InvalidRequest(f"`{name}` is {_short(text)!r}: {_short(error) or 'not readable'}.") from error


def require_listable(request: Request) -> None:
    """Raise InvalidRequest for what a list of searches cannot be chosen or sorted by: the library fails at it."""
    for name, value in request.query_params.multi_items():
        if unfit := {"%", "\0", *_LINE_ENDS} & set(name + value):
            found = ", ".join(map(repr, sorted(unfit)))
            raise InvalidRequest(f"The parameter {_short(name)!r} has {found}, which no search has.")


def check_expression(text: str) -> None:
    """Raise InvalidRequest unless it is arithmetic on bands that is soon done.

    numexpr hands the text to Python: of numbers alone `9**9**9` never ends, and text times a number fills the memory.
    """
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        raise InvalidRequest(f"`expression` has {len(text):,} characters; at most {MOST_EXPRESSION_CHARACTERS:,}.")
    blocks = get_expression_blocks(text)
    if len(blocks) > MOST_EXPRESSION_OUTPUTS:
        raise InvalidRequest(f"`expression` makes {len(blocks)} bands; at most {MOST_EXPRESSION_OUTPUTS}.")
    try:
        validate_expression(text)
        nodes = [node for block in blocks for node in ast.walk(ast.parse(block.strip(), mode="eval"))]
        reasons = [reason for node in nodes if (reason := _refusal(node))]
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
        raise InvalidRequest(f"`expression` is {_short(text)!r}, which cannot be read.") from error
    except Exception as error:  # rio-tiler's own
        raise InvalidRequest(f"`expression` is {_short(text)!r}: {_short(error)}.") from error
    if reasons:
        raise InvalidRequest(f"`expression` is {_short(text)!r}: {reasons[0]}.")
    if not any(isinstance(node, ast.Name) and re.fullmatch(r"b\d+", node.id) for node in nodes):
        raise InvalidRequest(f"`expression` is {_short(text)!r}, which names no band, such as b1.")
    if len({node.id for node in nodes if isinstance(node, ast.Name)}) > MOST_EXPRESSION_BANDS:
        raise InvalidRequest(f"`expression` names more than {MOST_EXPRESSION_BANDS} bands.")


def _refusal(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and (isinstance(node.value, bool) or not isinstance(node.value, int | float)):
        return f"{_short(node.value)!r} is no number"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        if not any(isinstance(each, ast.Name) for each in ast.walk(node.left)):
            return "a number is raised to a power"
        if any(isinstance(each, ast.BinOp) for each in ast.walk(node.right)):
            return "a power is no plain number"
    return ""


def _asset_expressions(assets: list[str]) -> list[str]:
    options = [option for asset in assets for option in asset.split("|")[1:]]
    return [option.partition("=")[2] for option in options if option.startswith("expression=")]


def _check_assets(text: str) -> None:
    if len(text) > 2 * MOST_EXPRESSION_CHARACTERS:
        raise ValueError("too long")
    for option in text.split("|")[1:]:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"{option!r} has no value")
        if key == "bidx":
            for number in value.split(","):
                _check_band(number)
            if value.count(",") >= MOST_LISTED:
                raise ValueError(f"more than {MOST_LISTED} bands")


def _check_band(text: str) -> None:
    if int(text) < 1:
        raise ValueError("bands are counted from 1")


def _check_color_formula(text: str) -> None:
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        raise ValueError("too long")
    list(parse_operations(text))  # which reads as it is iterated


def _check_nodata(text: str) -> None:
    if text not in ("nan", "inf", "-inf") and not math.isfinite(float(text)):
        raise ValueError("not a number that a raster can hold")


def _check_rescale(text: str) -> None:
    low, high = (float(part.strip("[]| ")) for part in text.split(","))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("two numbers, the smaller first, are needed")


def _check_colormap(text: str) -> None:
    if len(text) > MOST_COLORMAP_CHARACTERS:
        raise ValueError(f"more than {MOST_COLORMAP_CHARACTERS:,} characters")
    value = json.loads(text)
    if not value or not isinstance(value, dict | list):
        raise ValueError("an object or a list of colours is needed")
    if isinstance(value, list) and not all(_is_interval(each) for each in value):
        raise ValueError("in a list each colour comes after its interval")


def _is_interval(given: Any) -> bool:
    return isinstance(given, list) and len(given) == 2 and isinstance(given[0], list) and len(given[0]) == 2


def _check_percentile(text: str) -> None:
    if not 0 <= float(text) <= 100:
        raise ValueError("percentiles are from 0 to 100")


def _check_bins(text: str) -> None:
    edges = [float(part) for part in text.split(",")]
    if len(edges) > MOST_ALGORITHM_STEPS or (len(edges) == 1 and not 1 <= edges[0] <= MOST_ALGORITHM_STEPS):
        raise ValueError(f"from 1 to {MOST_ALGORITHM_STEPS:,} bins are counted")
    if edges != sorted(edges):
        raise ValueError("the edges do not rise")


def _check_crs(text: str) -> None:
    if not re.fullmatch(r"\[?[\w.:/-]{1,120}\]?", text):
        raise ValueError("a code is needed, such as EPSG:3857")


def _check_range(text: str) -> None:
    low, high = (float(part) for part in text.split(","))
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError("two numbers, the smaller first, are needed")


def _check_algorithm_params(text: str) -> None:
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        raise ValueError("too long")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("an object is needed")
    low, high, step = value.get("minz", -12_000), value.get("maxz", 8000), value.get("increment", 35)
    if (float(high) - float(low)) / float(step) > MOST_ALGORITHM_STEPS:
        raise ValueError(f"more than {MOST_ALGORITHM_STEPS:,} contours")


_CHECKS = {
    "assets": _check_assets,
    "bidx": _check_band,
    "color_formula": _check_color_formula,
    "nodata": _check_nodata,
    "rescale": _check_rescale,
    "colormap": _check_colormap,
    "crs": _check_crs,
    "dst_crs": _check_crs,
    "coord_crs": _check_crs,
    "p": _check_percentile,
    "histogram_bins": _check_bins,
    "histogram_range": _check_range,
    "algorithm_params": _check_algorithm_params,
}


def _short(value: object) -> str:
    """A value as a message may show it."""
    text = str(value).splitlines()[0] if str(value) else ""
    return text if len(text) <= _NEVER_SHOWN else f"{text[:_NEVER_SHOWN]}..."


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
