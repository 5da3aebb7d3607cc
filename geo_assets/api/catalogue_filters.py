"""What a search of the catalogue may ask: a filter, or STAC's query, as an expression that PgSTAC is handed.

Here: filters of /stac and /raster let through and put into PgSTAC's dialect of CQL2, the query extension whole (PgSTAC
has its operators on words only as CQL2), and the library's parameters that are read so. Not here: which expressions
are let through (`api.cql2`), searching (`catalogue`), mosaics (`rasters`).
"""

import functools
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel
from stac_fastapi.extensions.query import QueryExtension
from titiler.pgstac.dependencies import CollectionIdParams, SearchParams
from titiler.pgstac.model import Metadata, PgSTACSearch, RegisterMosaic

from geo_assets.api.cql2.expression import allow_filter, read_filter
from geo_assets.errors import InvalidFilter

Operator = Literal["eq", "ne", "neq", "lt", "lte", "gt", "gte", "startsWith", "endsWith", "contains", "in"]
_Search = TypeVar("_Search", bound=BaseModel)
_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
_COMPARED = {"eq": "=", "ne": "<>", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in"}
_SWAPPED = {"s_within": "s_contains", "s_contains": "s_within"}
_UNSUPPORTED = ("%", "div", "^")


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
