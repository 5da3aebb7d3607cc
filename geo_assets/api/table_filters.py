"""What is asked of a table of /features as SQL: its filter, ids, values of columns, box, time and tile.

Here: one expression as SQL, whose every name is an identifier of the table and whose every value is a quoted literal,
by psycopg's composition; and the library's collection with a WHERE clause made so. Not here: which filters are let
through (`api.cql2`), the rest of a query, which the library makes of names that are in the table.

The library would have its SQL made by cql2's `to_sql`, which lets any function through, takes a column `user` for the
user's name, and knows no CRS.
"""

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import shapely
from ciso8601 import parse_rfc3339
from morecantile import Tile, TileMatrixSet
from psycopg import sql
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry
from tipg.collections import Column, PgCollection
from tipg.errors import InvalidDatetime, InvalidDatetimeColumnName, InvalidPropertyName, MissingDatetimeColumn, NotFound

from geo_assets.api.cql2.expression import allow_filter
from geo_assets.errors import InvalidFilter

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_WGS84 = 4326
_EPSG_CRS = re.compile(
    r"(?:https?://www\.opengis\.net/def/crs/EPSG/[^/]{1,10}/|urn:ogc:def:crs:EPSG:[^:]{0,10}:)(\d{4,6})"
)
_INTEGERS = ("smallint", "integer", "bigint")
_STEPS = 500  # a geometry's outline is put into another CRS by at least so many positions
_END_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)
_COMPARED = {"=", "<>", "<", ">", "<=", ">="}
_ARITHMETIC = {
    "+": "({}::numeric + {}::numeric)",
    "-": "({}::numeric - {}::numeric)",
    "*": "({}::numeric * {}::numeric)",
    "/": "({}::float8 / {}::float8)",
    "%": "mod({}::numeric, {}::numeric)",
    "div": "div({}::numeric, {}::numeric)",
    "^": "power({}::float8, {}::float8)",
}
_ARRAYS = {
    "a_contains": "({0} @> {1})",
    "a_containedBy": "({0} <@ {1})",
    "a_equals": "({0} @> {1} AND {0} <@ {1})",
    "a_overlaps": "({0} && {1})",
}
# Of two periods, from l0 to l1 and from r0 to r1 (OGC 21-065r2, table 10).
_TIMES = {
    "t_after": "{l0} > {r1}",
    "t_before": "{l1} < {r0}",
    "t_contains": "{l0} < {r0} AND {l1} > {r1}",
    "t_disjoint": "({l1} < {r0} OR {l0} > {r1})",
    "t_during": "{l0} > {r0} AND {l1} < {r1}",
    "t_equals": "{l0} = {r0} AND {l1} = {r1}",
    "t_finishedBy": "{l0} < {r0} AND {l1} = {r1}",
    "t_finishes": "{l0} > {r0} AND {l1} = {r1}",
    "t_intersects": "{l0} <= {r1} AND {l1} >= {r0}",
    "t_meets": "{l1} = {r0}",
    "t_metBy": "{l0} = {r1}",
    "t_overlappedBy": "{l0} > {r0} AND {l0} < {r1} AND {l1} > {r1}",
    "t_overlaps": "{l0} < {r0} AND {l1} > {r0} AND {l1} < {r1}",
    "t_startedBy": "{l0} = {r0} AND {l1} > {r1}",
    "t_starts": "{l0} = {r0} AND {l1} < {r1}",
}


class TableFilter:
    """A filter that was let through, and the CRS that its geometries are in."""

    def __init__(self, expression: dict[str, Any] | bool, crs: str | None = None) -> None:
        self.expression = expression
        self.crs_code, self.is_latitude_first = _epsg_of(crs or CRS84)


class _Where:
    """A condition where the library has an expression of cql2."""

    def __init__(self, conditions: list[sql.Composable]) -> None:
        self._conditions = conditions

    def to_sql(self) -> str:
        return sql.SQL(" AND ").join(self._conditions).as_string(None)


class FilteredCollection(PgCollection):
    """A table whose WHERE clause is made here."""

    def cql_where(  # type: ignore[override]  # its expressions are not cql2's, and it only hands them on
        self,
        ids: list[str] | None = None,
        datetime: list[str] | None = None,
        bbox: list[float] | None = None,
        properties: list[tuple[str, Any]] | None = None,
        cql: TableFilter | None = None,
        geom: str | None = None,
        dt: str | None = None,
        tile: Tile | None = None,
        tms: TileMatrixSet | None = None,
    ) -> _Where | None:
        """The condition that all of this together means; None for nothing asked.

        Raises InvalidFilter for what the table has no column for, and the library's errors as its own method does.
        """
        columns = {column.name: column for column in [*self.properties, *self.geometry_columns]}
        found: list[sql.Composable] = []
        if cql is not None:
            expression = allow_filter(cql.expression, names=columns)
            found.append(_Compiler(columns, cql.crs_code, cql.is_latitude_first).condition(expression))
        if ids:
            found.append(self._of_ids(ids))
        found += [self._of_property(name, value) for name, value in properties or ()]
        geometry = self.get_geometry_column(geom)
        if geometry is not None:
            if bbox is not None:
                found.append(_intersects(geometry, _in_crs(_box(bbox), _WGS84, geometry.srid)))
            if tile is not None and tms is not None and (outline := _tile(tile, tms, geometry.srid)) is not None:
                found.append(_intersects(geometry, outline))
        if datetime:
            found.append(self._of_time(datetime, dt))
        return _Where(found) if found else None

    def _of_ids(self, ids: list[str]) -> sql.Composable:
        if self.id_column is None:
            raise InvalidFilter(f"The table {self.id} has no key that `ids` could be of.")
        if self.id_column.type not in _INTEGERS:
            values: list[sql.Composable] = [_text(each) for each in ids]
        elif all(re.fullmatch(r"[+-]?[0-9]{1,30}", each) for each in ids):
            values = [sql.Literal(int(each)) for each in ids]
        else:
            raise NotFound(f"An id of the table {self.id} is a whole number.")
        return sql.SQL("{} IN ({})").format(sql.Identifier(self.id_column.name), sql.SQL(", ").join(values))

    def _of_property(self, name: str, value: Any) -> sql.Composable:
        column = self.get_column(name)
        if column is None or column.is_geometry:
            raise InvalidPropertyName(f"Invalid property name: {name}")
        return sql.SQL("{} = {}").format(sql.Identifier(column.name), _text(str(value)))

    def _of_time(self, times: list[str], name: str | None) -> sql.Composable:
        if not self.datetime_columns:
            raise MissingDatetimeColumn("Must have timestamp/timestamptz/date typed column to filter with datetime.")
        column = self.get_datetime_column(name)
        if column is None:
            raise InvalidDatetimeColumnName(f"Invalid Datetime Column: {name}.")
        identifier = sql.Identifier(column.name)
        start, end = require_times(times)
        if len(times) == 1:
            return sql.SQL("{} = {}").format(identifier, sql.Literal(start))
        found: list[sql.Composable] = []
        if start is not None:
            found.append(sql.SQL("{} >= {}").format(identifier, sql.Literal(start)))
        if end is not None:  # the library's reading: up to an end without it, but with it where there is no start
            operator = sql.SQL("<" if start is not None else "<=")
            found.append(sql.SQL("{} {} {}").format(identifier, operator, sql.Literal(end)))
        return sql.SQL(" AND ").join(found)


class _Compiler:
    """One expression as SQL on these columns, with geometries in this CRS."""

    def __init__(self, columns: dict[str, Column], crs_code: int, is_latitude_first: bool) -> None:
        self._columns = columns
        self._crs_code = crs_code
        self._is_latitude_first = is_latitude_first

    def condition(self, node: Any) -> sql.Composable:
        """A condition, or any other value that is no geometry, period or list, in brackets where it needs them."""
        if not isinstance(node, dict):
            return _text(node) if isinstance(node, str) else sql.Literal(node)
        if "property" in node:
            return sql.Identifier(node["property"])
        if "date" in node:
            return sql.Literal(date.fromisoformat(node["date"]))
        if "timestamp" in node:
            return sql.Literal(_instant(node["timestamp"]))
        operator, args = node["op"], node["args"]
        if operator.startswith("s_"):
            return self._spatial(operator, args)
        if operator.startswith("t_"):
            return self._temporal(operator, args)
        if operator.startswith("a_"):
            return self._of_arrays(operator, args)
        if operator == "in":
            members = [self.condition(each) for each in args[1]]
            if not members:
                return sql.SQL("FALSE")
            return sql.SQL("({} IN ({}))").format(self.condition(args[0]), sql.SQL(", ").join(members))
        return self._plain(operator, [self.condition(each) for each in args])

    def _plain(self, operator: str, args: list[sql.Composable]) -> sql.Composable:
        if operator in ("and", "or"):
            return sql.SQL("({})").format(sql.SQL(f" {operator.upper()} ").join(args))
        if operator in _COMPARED:
            return sql.SQL(f"({{}} {operator} {{}})").format(*args)
        if operator in _ARITHMETIC:
            return sql.SQL(_ARITHMETIC[operator]).format(*args)
        forms = {
            "not": "(NOT {})",
            "like": "({}::text LIKE {})",
            "between": "({} BETWEEN {} AND {})",
            "isNull": "({} IS NULL)",
            "casei": "lower({}::text)",
            "accenti": "unaccent({}::text)",
        }
        return sql.SQL(forms[operator]).format(*args)

    def _spatial(self, operator: str, args: list[Any]) -> sql.Composable:
        named = [self._columns[each["property"]] for each in args if "property" in each]
        if other := [column.name for column in named if not column.is_geometry]:
            raise InvalidFilter(f"The filter has {operator} of {other[0]!r}, which is no geometry.")
        srid = next((column.srid for column in named if column.srid is not None), _WGS84)
        compared = [self._shape(each, srid) for each in args]
        return sql.SQL(f"ST_{operator[2:].capitalize()}({{}}, {{}})").format(*compared)

    def _shape(self, node: Any, srid: int) -> sql.Composable:
        if "property" in node:
            column = self._columns[node["property"]]
            shape = sql.SQL("{}::geometry").format(sql.Identifier(column.name))
            return shape if column.srid in (None, srid) else sql.SQL("ST_Transform({}, {})").format(shape, srid)
        if "bbox" in node:
            box = node["bbox"]
            half = len(box) // 2
            bounds = [*box[:2], *box[half : half + 2]]
            if self._is_latitude_first:
                bounds = [bounds[1], bounds[0], bounds[3], bounds[2]]
            return _geometry(_in_crs(_box(bounds), self._crs_code, srid))
        shape_read = shapely.force_2d(shapely.geometry.shape(node))
        if self._is_latitude_first:
            shape_read = shapely.transform(shape_read, lambda positions: positions[:, ::-1])
        return _geometry(_in_crs(shape_read, self._crs_code, srid))

    def _temporal(self, operator: str, args: list[Any]) -> sql.Composable:
        (l0, l1), (r0, r1) = (self._period(each) for each in args)
        return sql.SQL(f"({_TIMES[operator]})").format(l0=l0, l1=l1, r0=r0, r1=r1)

    def _period(self, node: Any) -> tuple[sql.Composable, sql.Composable]:
        """The first and the last instant of it; a day has more than one."""
        if "interval" in node:
            first, last = node["interval"]
            return self._end(first, 0), self._end(last, 1)
        if "property" in node:
            return self._end(node, 0), self._end(node, 1)
        value = next(iter(node.values()))
        return self._end(value, 0), self._end(value, 1)

    def _end(self, node: Any, which: int) -> sql.Composable:
        if node == "..":
            return sql.SQL("'infinity'::timestamptz" if which else "'-infinity'::timestamptz")
        if isinstance(node, dict):
            column = self._columns[node["property"]]
            if not column.is_datetime:
                raise InvalidFilter(f"The filter has an instant of {column.name!r}, which is no time.")
            instant = sql.SQL("{}::timestamptz").format(sql.Identifier(column.name))
            if column.type != "date" or not which:
                return instant
            return sql.SQL("({} + {})").format(instant, sql.Literal(_END_OF_DAY))
        value = _instant(node)
        assert value is not None
        return sql.Literal(value + _END_OF_DAY if which and "T" not in node else value)

    def _of_arrays(self, operator: str, args: list[Any]) -> sql.Composable:
        types = [self._columns[each["property"]].type for each in args if isinstance(each, dict)]
        if other := [kind for kind in types if not re.fullmatch(r"[a-z0-9 ]+\[\]", kind)]:
            raise InvalidFilter(f"The filter has {operator} of a column that is no list but {other[0]}.")
        kind = sql.SQL(types[0] if types else "text[]")
        lists = [
            sql.Identifier(each["property"])
            if isinstance(each, dict)
            else sql.SQL("ARRAY[{}]::{}").format(sql.SQL(", ").join([self.condition(one) for one in each]), kind)
            for each in args
        ]
        return sql.SQL(_ARRAYS[operator]).format(*lists)


def require_times(times: list[str]) -> tuple[datetime | None, datetime | None]:
    """The first and the last instant, None for an open end. Raises InvalidDatetime for what is no time."""
    if len(times) > 2:
        raise InvalidDatetime("A datetime is an instant, or an interval with two ends.")
    start, end = _instant(times[0]), _instant(times[-1])
    if start is None and end is None:
        raise InvalidDatetime("A datetime is an instant, or an interval with one end at least.")
    if start is not None and end is not None and start > end:
        raise InvalidDatetime("A datetime's start is not after its end.")
    return start, end


def _intersects(column: Column, shape: BaseGeometry) -> sql.Composable:
    return sql.SQL("ST_Intersects({}::geometry, {})").format(sql.Identifier(column.name), _geometry(shape))


def _geometry(shape: BaseGeometry) -> sql.Composable:
    return sql.SQL("{}::geometry").format(sql.Literal(shapely.to_wkb(shape, hex=True, include_srid=True)))


def _in_crs(shape: BaseGeometry, crs_code: int, srid: int | None) -> BaseGeometry:
    """The geometry in the CRS of a table. Raises InvalidFilter where it has no place there."""
    srid = srid or _WGS84
    if crs_code != srid:
        step = max(shape.length / _STEPS, 1e-9)
        fine = shapely.segmentize(shape, step) if shape.length else shape
        shape = shapely.transform(fine, _transformer(crs_code, srid).transform, interleaved=False)
        if not all(map(_is_finite, shape.bounds)):
            raise InvalidFilter(f"A geometry of the filter has no place in the CRS EPSG:{srid} of the table.")
    return shapely.set_srid(shape, srid)


def _box(bounds: list[float]) -> BaseGeometry:
    """The box as one polygon, or as two if it crosses the 180th meridian."""
    west, south, east, north = bounds if len(bounds) == 4 else (*bounds[:2], *bounds[3:5])
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.multipolygons([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _tile(tile: Tile, tms: TileMatrixSet, srid: int | None) -> BaseGeometry | None:
    """The tile's outline in the CRS of a table; None where it has none, and no feature is left out."""
    bounds = shapely.box(*tms.xy_bounds(tile))
    try:
        return _in_crs(bounds, tms.crs.to_epsg() or _WGS84, srid)
    except InvalidFilter:
        return None


@lru_cache(maxsize=64)
def _transformer(crs_code: int, srid: int) -> Transformer:
    return Transformer.from_crs(crs_code, srid, always_xy=True)


@lru_cache(maxsize=64)
def _epsg_of(crs: str) -> tuple[int, bool]:
    """The code of a CRS as `filter-crs` names it, and whether its first axis points north. Raises InvalidFilter."""
    if crs.rstrip("h").removeprefix("http").removeprefix("s") == CRS84.removeprefix("http") or crs == "CRS84":
        return _WGS84, False
    match = _EPSG_CRS.fullmatch(crs)
    if match is None:
        raise InvalidFilter(f"`filter-crs` is {crs[:100]!r}.", remedy=f"Name it as {CRS84}.")
    try:
        known = CRS.from_epsg(int(match[1]))
    except CRSError as error:
        raise InvalidFilter(f"`filter-crs` is {crs[:100]!r}, which EPSG does not have.") from error
    return int(match[1]), known.axis_info[0].direction.lower() == "north"


def _instant(text: str) -> datetime | None:
    """The instant, None for an open end. Raises InvalidDatetime."""
    if text in ("", ".."):
        return None
    try:
        instant: datetime = parse_rfc3339(text) if "T" in text.upper() else datetime.fromisoformat(f"{text}T00:00:00Z")
    except ValueError as error:
        raise InvalidDatetime(f"Invalid datetime: {text[:60]!r}.") from error
    return instant


def _text(value: str) -> sql.Composable:
    """A text as a literal without a dollar sign: the library takes one before a digit for a parameter of its own.

    Raises InvalidFilter for what PostgreSQL has no text for.
    """
    if "\0" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise InvalidFilter("The request has a text with a NUL, or with half a character.")
    parts = [sql.Literal(each) for each in value.split("$")]
    return parts[0] if len(parts) == 1 else sql.SQL("({})").format(sql.SQL(" || chr(36) || ").join(parts))


def _is_finite(number: float) -> bool:
    return number - number == 0
