"""What a search of the catalogue may ask, as an expression that PgSTAC is handed, and what it would find, counted.

Here: filters of /stac and /raster let through and put into PgSTAC's dialect of CQL2, the query extension whole (PgSTAC
has its operators on words only as CQL2), and the library's parameters that are read so; /stac/aggregate, by STAC API's
aggregation extension 0.3. Which items a search means is PgSTAC's own to say, so that both always agree. Not here: which
expressions are let through (`api.cql2`), searching (`catalogue`), mosaics (`rasters`).
"""

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import asyncpg
import orjson
from fastapi import Request
from pydantic import BaseModel
from stac_fastapi.api.models import create_get_request_model, create_post_request_model
from stac_fastapi.extensions.aggregation import AggregationExtension
from stac_fastapi.extensions.aggregation.client import AsyncBaseAggregationClient
from stac_fastapi.extensions.aggregation.request import AggregationExtensionGetRequest, AggregationExtensionPostRequest
from stac_fastapi.extensions.aggregation.types import Aggregation, AggregationCollection
from stac_fastapi.extensions.query import QueryExtension
from stac_fastapi.pgstac.core import clean_search_args
from stac_fastapi.types.errors import InvalidQueryParameter, NotFoundError
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.requests import get_base_url
from titiler.pgstac.dependencies import CollectionIdParams, SearchParams
from titiler.pgstac.model import Metadata, PgSTACSearch, RegisterMosaic

from geo_assets.api.cql2.expression import allow_filter, read_filter
from geo_assets.display import rfc3339
from geo_assets.errors import InvalidFilter

Operator = Literal["eq", "ne", "neq", "lt", "lte", "gt", "gte", "startsWith", "endsWith", "contains", "in"]
_Search = TypeVar("_Search", bound=BaseModel)
_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
_COMPARED = {"eq": "=", "ne": "<>", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in"}
_SWAPPED = {"s_within": "s_contains", "s_contains": "s_within"}
_UNSUPPORTED = ("%", "div", "^")
AGGREGATIONS = {
    "total_count": "integer",
    "datetime_min": "datetime",
    "datetime_max": "datetime",
    "collection_frequency": "string",
    "datetime_frequency": "datetime",
    "cloud_cover_frequency": "numeric",
}
"""Each that can be asked for, with the type of its value or of its buckets' keys."""
_INTERVALS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}
_MOST_INTERVALS = 100
_CLOUD_BUCKETS = 10
_CLOUD_COVER = """
    CASE jsonb_typeof(content->'properties'->'eo:cloud_cover')
        WHEN 'number' THEN (content->'properties'->'eo:cloud_cover')::float8
    END
"""


class QueryRequest(BaseModel):
    """What a search may ask of properties."""

    query: dict[str, dict[Operator, Any]] | None = None


class WholeQueryExtension(QueryExtension):
    """The extension with all of its operators: the library's has no more than comparisons."""

    POST = QueryRequest


def with_allowed_filter(search: _Search) -> _Search:
    """The search with its filter let through, or its query, if it has no filter, as one. Raises InvalidFilter."""
    expression, query = getattr(search, "filter_expr", None), getattr(search, "query", None)
    if expression is not None:
        return search.model_copy(update={"filter_expr": catalogue_filter(expression)})
    if query:
        return search.model_copy(update={"query": None, "filter_expr": catalogue_filter(as_filter(query))})
    return search


def as_filter(query: dict[str, dict[Operator, Any]]) -> dict[str, Any]:
    """The query as a filter of CQL2 JSON."""
    return {
        "op": "and",
        "args": [
            _compared(name, operator, value) for name, asked in query.items() for operator, value in asked.items()
        ],
    }


def read_catalogue_filter(text: str) -> dict[str, Any]:
    """The filter that this text means, as PgSTAC takes it. Raises InvalidFilter."""
    return catalogue_filter(read_filter(text))


def catalogue_filter(expression: Any) -> dict[str, Any]:
    """The expression as PgSTAC takes it: the same again for one that is already. Raises InvalidFilter."""
    allowed = allow_filter(expression)
    if isinstance(allowed, bool) or "property" in allowed:
        allowed = {"op": "and", "args": [allowed]}
    put: dict[str, Any] = _in_dialect(allowed)
    return put


@functools.wraps(CollectionIdParams)
def collection_mosaic(**given: Any) -> str:
    """The library's parameters of a collection's mosaic, whose filter it does not read: it would as cql2 does."""
    if given["filter_expr"] is not None:
        given["filter_expr"] = orjson.dumps(read_catalogue_filter(given["filter_expr"])).decode()
        given["filter_lang"] = "cql2-json"
    return CollectionIdParams(**given)


def search_to_register(body: RegisterMosaic) -> tuple[PgSTACSearch, Metadata]:
    """The library's body of a search to register, with its filter let through. Raises InvalidFilter."""
    search, metadata = SearchParams(body)
    return with_allowed_filter(search), metadata


def _compared(name: str, operator: Operator, value: Any) -> dict[str, Any]:
    pattern = _PATTERNS.get(operator)
    if pattern is None:
        return {"op": _COMPARED[operator], "args": [{"property": name}, value]}
    literal = str(value).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return {"op": "like", "args": [{"property": name}, pattern.format(literal)]}


def _in_dialect(node: Any) -> Any:
    if isinstance(node, list):
        return [_in_dialect(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "bbox" in node:
        return _polygon(node["bbox"])
    if "op" not in node:
        return {"timestamp": f"{node['date']}T00:00:00Z"} if "date" in node else node
    name, args = node["op"], node["args"]
    if name in _UNSUPPORTED:
        raise InvalidFilter(f"The filter has {name}, which the catalogue does not reckon with.")
    if name.startswith("t_"):
        return {"op": name, "args": args}  # where a date is a day
    if name == "a_containedBy":
        name = "a_contained_by"
    args = [_in_dialect(each) for each in args]
    if name.startswith("s_"):
        return _spatial(name, args)
    return {"op": name, "args": args}


def _spatial(name: str, args: list[Any]) -> dict[str, Any]:
    """With the item's geometry first: PgSTAC reads the second argument only, and assumes the first is that."""
    if "property" not in args[0]:
        name, args = _SWAPPED.get(name, name), args[::-1]
    first, second = args
    if first.get("property") != "geometry" or "coordinates" not in second:
        raise InvalidFilter(f"The filter has {name} of something else than `geometry` and one simple geometry.")
    return {"op": name, "args": [first, second]}


def _polygon(bounds: list[float]) -> dict[str, Any]:
    half = len(bounds) // 2
    (west, south), (east, north) = bounds[:2], bounds[half : half + 2]
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [[[[w, south], [e, south], [e, north], [w, north], [w, south]]] for w, e in parts]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def aggregation_extension(searching: Sequence[ApiExtension]) -> AggregationExtension:
    """The extension, which takes what these extensions of search take."""
    post_model = create_post_request_model(list(searching), base_model=AggregationExtensionPostRequest)
    extension = AggregationExtension(client=AggregationClient(post_model))
    extension.POST = post_model
    extension.GET = create_get_request_model(list(searching), base_model=AggregationExtensionGetRequest)
    extension.conformance_classes = [
        *extension.conformance_classes,
        *(f"{name}#{part}" for name in extension.conformance_classes for part in ("query", "filter")),
    ]
    return extension


def aggregation_links(place: str) -> list[dict[str, str]]:
    """The links of a collection to the routes below its ``place``; the library adds those of the landing page."""
    return [
        {"rel": name, "type": "application/json", "title": name.capitalize(), "href": f"{place}/{name}"}
        for name in ("aggregate", "aggregations")
    ]


class AggregationClient(AsyncBaseAggregationClient):
    """What the extension's routes ask."""

    def __init__(self, post_model: type[BaseModel]) -> None:
        self._post_model = post_model

    async def get_aggregations(self, collection_id: str | None = None, **kwargs: Any) -> AggregationCollection:
        """All that can be asked for, alike for each collection. Raises NotFoundError for one that is not there."""
        request: Request = kwargs["request"]
        if collection_id is not None:
            async with request.app.state.get_connection(request, "r") as connection:
                await _require_collection(connection, collection_id)
        return _answer(request, [Aggregation(name=name, data_type=kind) for name, kind in AGGREGATIONS.items()])

    async def aggregate(  # type: ignore[override]
        self, search: BaseModel | None = None, **kwargs: Any
    ) -> AggregationCollection:
        """Those asked for, of the items that the same search would find.

        Raises InvalidQueryParameter for an unknown name, NotFoundError for a collection that does not exist.
        """
        request: Request = kwargs.pop("request")
        asked = search or self._of_query(kwargs)
        names = list(dict.fromkeys(getattr(asked, "aggregations", None) or ()))
        if unknown := [name for name in names if name not in AGGREGATIONS]:
            raise InvalidQueryParameter(f"no aggregation is called {unknown[0]}; there are {', '.join(AGGREGATIONS)}.")
        terms = with_allowed_filter(asked).model_dump(mode="json", by_alias=True, exclude_none=True)
        async with (
            request.app.state.get_connection(request, "r") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),  # one state for all of them
        ):
            if (collection_id := request.path_params.get("collection_id")) is not None:
                await _require_collection(connection, collection_id)
                terms["collections"] = [collection_id]
            return _answer(request, await _Items(connection, terms).aggregate(names))

    def _of_query(self, asked: dict[str, Any]) -> BaseModel:
        """The same search as it is posted. Raises InvalidQueryParameter if it is not valid."""
        text = asked.get("filter_expr")
        expression = {"filter": read_catalogue_filter(text), "filter_lang": "cql2-json"} if text else {}
        try:
            query = orjson.loads(asked["query"]) if asked.get("query") else None
            terms = clean_search_args(
                {"query": query}
                | expression
                | {name: asked.get(name) for name in ("collections", "ids", "bbox", "aggregations")},
                **{name: asked.get(name) for name in ("intersects", "datetime", "q")},
            )
            return self._post_model(**terms)
        except ValueError as error:  # no JSON, or no search
            raise InvalidQueryParameter(str(error)) from error


class _Items:
    """The items that a search means."""

    def __init__(self, connection: asyncpg.Connection, terms: dict[str, Any]) -> None:
        self._connection = connection
        self._terms = terms
        self._where = ""

    async def aggregate(self, names: list[str]) -> list[Any]:
        if not names:
            return []
        self._where = await self._connection.fetchval(
            "SELECT stac_search_to_where($1::text::jsonb)", orjson.dumps(self._terms).decode()
        )
        total, first, last = (await self._select("count(*), min(datetime), max(end_datetime)"))[0]
        values = {
            "total_count": total,
            "datetime_min": first and rfc3339(first),
            "datetime_max": last and rfc3339(last),
        }
        found: list[dict[str, Any]] = []
        for name in names:
            head = {"name": name, "data_type": AGGREGATIONS[name]}
            match name:
                case "collection_frequency":
                    found.append(head | {"buckets": await self._collections()})
                case "datetime_frequency":
                    found.append(head | await self._times(first, last))
                case "cloud_cover_frequency":
                    buckets = await self._cloud_covers()
                    found.append(head | {"buckets": buckets, "overflow": total - _all_of(buckets)})
                case _:
                    found.append(head | {"value": values[name]})
        return found

    async def _collections(self) -> list[dict[str, Any]]:
        rows = await self._select("collection, count(*)", "GROUP BY 1 ORDER BY 1")
        return [{"key": key, "data_type": "string", "frequency": count} for key, count in rows]

    async def _times(self, first: datetime | None, last: datetime | None) -> dict[str, Any]:
        """Counts by the start of an item's time: the shortest interval of which there are not too many."""
        span = last - first if first and last else timedelta(0)
        interval = next((name for name, length in _INTERVALS.items() if span / length <= _MOST_INTERVALS), "year")
        rows = await self._select(f"date_trunc('{interval}', datetime, 'UTC'), count(*)", "GROUP BY 1 ORDER BY 1")
        kind = f"interval_{interval}"
        return {
            "data_type": kind,
            "buckets": [{"key": rfc3339(key), "data_type": kind, "frequency": count} for key, count in rows],
        }

    async def _cloud_covers(self) -> list[dict[str, Any]]:
        """Counts by tenths, of which the last has 100 too."""
        number = f"least(width_bucket({_CLOUD_COVER}, 0, 100, {_CLOUD_BUCKETS}), {_CLOUD_BUCKETS})"
        rest = f"AND {_CLOUD_COVER} BETWEEN 0 AND 100 GROUP BY 1 ORDER BY 1"
        rows = await self._select(f"{number}, count(*)", rest)
        width = 100 // _CLOUD_BUCKETS
        return [
            {
                "key": f"{width * (bucket - 1)}-{width * bucket}",
                "data_type": "numeric",
                "frequency": count,
                "from": width * (bucket - 1),
                "to": width * bucket,
            }
            for bucket, count in rows
        ]

    async def _select(self, columns: str, rest: str = "") -> list[Any]:
        """``columns`` and ``rest`` are words of this module, the predicate is PgSTAC's, which quotes what was asked."""
        rows: list[Any] = await self._connection.fetch(f"SELECT {columns} FROM items WHERE ({self._where}) {rest}")
        return rows


def _all_of(buckets: list[dict[str, Any]]) -> int:
    return sum(bucket["frequency"] for bucket in buckets)


async def _require_collection(connection: asyncpg.Connection, collection_id: str) -> None:
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM collections WHERE id = $1)", collection_id):
        raise NotFoundError(f"Collection {collection_id} does not exist.")


def _answer(request: Request, aggregations: list[Aggregation]) -> AggregationCollection:
    links = [
        {"rel": "root", "type": "application/json", "href": get_base_url(request)},
        {"rel": "self", "type": "application/json", "href": str(request.url)},
    ]
    return AggregationCollection(type="AggregationCollection", aggregations=aggregations, links=links)
