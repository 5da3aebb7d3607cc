"""STAC's query extension whole: the operators on words, which PgSTAC has only as CQL2.

Here: its model, and the translation. Not here: searching (`catalogue`).
"""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from stac_fastapi.extensions.query import QueryExtension

Operator = Literal["eq", "ne", "neq", "lt", "lte", "gt", "gte", "startsWith", "endsWith", "contains", "in"]
_Search = TypeVar("_Search", bound=BaseModel)
_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}


class QueryRequest(BaseModel):
    """What a search may ask of properties."""

    query: dict[str, dict[Operator, Any]] | None = None


class WholeQueryExtension(QueryExtension):
    """The extension with all of its operators: the library's has no more than comparisons."""

    POST = QueryRequest


def with_query_as_filter(search: _Search) -> _Search:
    """The search with its query, if it has one and no filter, as a filter."""
    query = getattr(search, "query", None)
    if not query or getattr(search, "filter_expr", None) is not None:
        return search
    return search.model_copy(update={"query": None, "filter_expr": as_filter(query)})


def as_filter(query: dict[str, dict[Operator, Any]]) -> dict[str, Any]:
    """The query as a filter of CQL2 JSON."""
    return {
        "op": "and",
        "args": [
            _compared(name, operator, value) for name, asked in query.items() for operator, value in asked.items()
        ],
    }


def _compared(name: str, operator: Operator, value: Any) -> dict[str, Any]:
    pattern = _PATTERNS.get(operator)
    if pattern is None:
        return {"op": operator, "args": [{"property": name}, value]}
    literal = str(value).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return {"op": "like", "args": [{"property": name}, pattern.format(literal)]}
