"""How much of a table one answer of /features holds: pages end by their size, and not by their number of features only.

Here: the query of features, whose rows are taken in few at a time. Not here: which rows are asked for
(`table_filters`), vector tiles, which the database makes.

Of 5,000 outlines of 2,000 positions, which is nothing unusual, the library would hold 6 GB and have all others wait for
half a minute. A page may have fewer features than were asked for: its link `next` leads on.
"""

from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from starlette.requests import Request
from tipg.collections import Column, Feature
from tipg.dependencies import ItemsOutputType
from tipg.resources.enums import MediaType

from geo_assets.api.problems import RequestTooLarge
from geo_assets.api.table_filters import FilteredCollection


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
