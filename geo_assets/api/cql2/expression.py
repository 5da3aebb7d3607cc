"""Which expressions of CQL2 are let through: its own operators, literals and names, within bounds, and nothing else.

Here: the allow-list, for both encodings. What comes out holds no key, operator or value that does not stand here, so
what makes SQL of it meets nothing else. Not here: the text encoding (`text`), SQL.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime
from typing import Any

import orjson

from geo_assets.api.cql2.text import MOST_NESTED, parse_text
from geo_assets.errors import InvalidFilter

MOST_BYTES = 100_000
"""The longest text of a filter."""
MOST_VALUES = 10_000
"""The most operators, names, literals and members of lists of a filter."""
MOST_VERTICES = 20_000
"""The most positions of all geometries of a filter."""

_LONGEST_NAME = 500
_OPERATORS = {
    **dict.fromkeys(("and", "or"), ("boolean", ...)),
    "not": ("boolean",),
    **dict.fromkeys(("=", "<>", "<", ">", "<=", ">="), ("scalar", "scalar")),
    "like": ("text", "text"),
    "between": ("scalar", "scalar", "scalar"),
    "in": ("scalar", "members"),
    "isNull": ("any",),
    **dict.fromkeys(("casei", "accenti"), ("text",)),
    **dict.fromkeys(("+", "-", "*", "/", "%", "div", "^"), ("number", "number")),
    **{
        f"s_{name}": ("geometry", "geometry")
        for name in ("contains", "crosses", "disjoint", "equals", "intersects", "overlaps", "touches", "within")
    },
    **{
        f"t_{name}": ("temporal", "temporal")
        for name in (
            *("after", "before", "contains", "disjoint", "during", "equals", "finishedBy", "finishes", "intersects"),
            *("meets", "metBy", "overlappedBy", "overlaps", "startedBy", "starts"),
        )
    },
    **{f"a_{name}": ("array", "array") for name in ("contains", "containedBy", "equals", "overlaps")},
}
"""Each operator with the kinds of its arguments; ``...`` means one or more of the kind before it."""
_SPELLED = {name.lower(): name for name in _OPERATORS} | {"!=": "<>", "a_contained_by": "a_containedBy"}
_FUNCTIONS = frozenset(name for name in _SPELLED if name[:2] in ("s_", "t_", "a_") or name in ("casei", "accenti"))
_GIVEN = {"number": ("+", "-", "*", "/", "%", "div", "^"), "text": ("casei", "accenti"), "array": (), "geometry": ()}
"""The operators that give a value of a kind; all others give a boolean."""
_DEPTHS = {
    "Point": 0,
    "LineString": 1,
    "MultiPoint": 1,
    "Polygon": 2,
    "MultiLineString": 2,
    "MultiPolygon": 3,
}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def read_filter(text: str, *, names: Collection[str] | None = None) -> dict[str, Any] | bool:
    """The expression that a filter's text means, in either encoding. Raises InvalidFilter.

    The text alone tells its encoding: an expression as JSON is an object, as text none begins so.
    """
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise InvalidFilter(f"The filter has more than {MOST_BYTES:,} bytes.")
    if not text.lstrip().startswith("{"):
        return allow_filter(parse_text(text, _FUNCTIONS), names=names)
    try:
        expression = orjson.loads(text)
    except ValueError as error:
        raise InvalidFilter(f"The filter begins as JSON and is none: {str(error)[:200]}.") from error
    return allow_filter(expression, names=names)


def allow_filter(expression: Any, *, names: Collection[str] | None = None) -> dict[str, Any] | bool:
    """The expression, spelled as CQL2 has it. Raises InvalidFilter, which says which word is not let through.

    With ``names`` a property has to be one of them.
    """
    return _Reading(names).value("boolean", expression)  # type: ignore[no-any-return]


def vertices_of(geometry: Any) -> Iterator[list[float]]:
    """Each position of a geometry that was let through."""
    if "geometries" in geometry:
        for member in geometry["geometries"]:
            yield from vertices_of(member)
        return
    level = [geometry["coordinates"]]
    for _ in range(_DEPTHS[geometry["type"]]):
        level = [each for part in level for each in part]
    yield from level


class _Reading:
    """One reading of one expression, which counts what it has met."""

    def __init__(self, names: Collection[str] | None) -> None:
        self._names = names
        self._depth = 0
        self._values = 0
        self._vertices = 0

    def value(self, kind: str, node: Any) -> Any:
        """The value of this kind that ``node`` is."""
        self._values += 1
        self._depth += 1
        if self._values > MOST_VALUES:
            raise InvalidFilter(f"The filter has more than {MOST_VALUES:,} values.", remedy="Ask in parts.")
        if self._depth > MOST_NESTED:
            raise InvalidFilter(f"The filter is nested more than {MOST_NESTED} deep.")
        read = self._object(kind, node) if isinstance(node, dict) else self._literal(kind, node)
        self._depth -= 1
        return read

    def _literal(self, kind: str, node: Any) -> Any:
        if kind == "members" or (kind == "array" and isinstance(node, list)):
            if not isinstance(node, list):
                raise InvalidFilter(f"The filter has {_shown(node)} where a list is expected.")
            return [self.value("scalar", each) for each in node]
        if isinstance(node, str) and kind in ("scalar", "text"):
            return _plain(node)
        if isinstance(node, str) and kind == "temporal":
            return _moment_of(node)
        if isinstance(node, bool) and kind in ("scalar", "boolean"):
            return node
        if isinstance(node, int | float) and not isinstance(node, bool) and kind in ("scalar", "number"):
            return _finite(node)
        raise InvalidFilter(f"The filter has {_shown(node)} where a value of the kind {kind} is expected.")

    def _object(self, kind: str, node: dict[Any, Any]) -> Any:
        if "op" in node:
            return self._operation(kind, node)
        if set(node) == {"property"}:
            return {"property": self._name(node["property"])}
        if kind in ("geometry", "any") and "type" in node:
            return self._geometry(node)
        readers: dict[tuple[str, ...], Callable[[Any], Any]] = {
            ("geometry", "bbox"): self._box,
            ("scalar", "date"): _date,
            ("scalar", "timestamp"): _timestamp,
            ("temporal", "date"): _date,
            ("temporal", "timestamp"): _timestamp,
            ("temporal", "interval"): self._interval,
        }
        key = next(iter(node), "")
        read = readers.get((kind, key))
        if read is None or len(node) != 1:
            words = ", ".join(map(str, list(node)[:3]))[:100]
            raise InvalidFilter(f"The filter has an object of {words!r} where a value of the kind {kind} is expected.")
        return {key: read(node[key])}

    def _operation(self, kind: str, node: dict[Any, Any]) -> dict[str, Any]:
        given, args = node["op"], node.get("args")
        name = _SPELLED.get(given.lower()) if isinstance(given, str) else None
        if name is None:
            raise InvalidFilter(f"The filter has {_shown(given)}, which is no operator of CQL2.")
        if set(node) != {"op", "args"} or not isinstance(args, list):
            raise InvalidFilter(f"The operator {name} takes a list of `args`, and nothing else.")
        if not self._gives(name, kind):
            raise InvalidFilter(f"The filter has {name} where a value of the kind {kind} is expected.")
        kinds: tuple[Any, ...] = _OPERATORS[name]
        if kinds[-1] is ...:
            kinds = kinds[:1] * max(1, len(args))
        if len(args) != len(kinds):
            raise InvalidFilter(f"The operator {name} takes {len(kinds)} arguments, and has {len(args)}.")
        read = [self.value(each, arg) for each, arg in zip(kinds, args, strict=True)]
        if name.startswith("a_"):
            read = [each if isinstance(each, list | dict) else [each] for each in read]
        return {"op": name, "args": read}

    @staticmethod
    def _gives(name: str, kind: str) -> bool:
        if kind in ("any", "scalar"):
            return True
        if kind in _GIVEN:
            return name in _GIVEN[kind]
        return kind == "boolean" and not any(name in names for names in _GIVEN.values())

    def _name(self, name: Any) -> str:
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            raise InvalidFilter(f"The filter has {_shown(name)} where the name of a property is expected.")
        if self._names is not None and name not in self._names:
            raise InvalidFilter(
                f"The filter names {_shown(name)}, which is no queryable here.", remedy="Use one of the queryables."
            )
        return _plain(name)

    def _geometry(self, node: dict[Any, Any]) -> dict[str, Any]:
        kind = node["type"]
        if kind == "GeometryCollection":
            members = node.get("geometries")
            if not isinstance(members, list) or not members or any(not isinstance(each, dict) for each in members):
                raise InvalidFilter("A GeometryCollection of the filter has no list of `geometries`.")
            return {"type": kind, "geometries": [self._member(each) for each in members]}
        if not isinstance(kind, str) or kind not in _DEPTHS:
            raise InvalidFilter(f"The filter has a geometry of the type {_shown(kind)}, which GeoJSON has not.")
        return {"type": kind, "coordinates": self._positions(kind, _DEPTHS[kind], node.get("coordinates"))}

    def _member(self, node: dict[Any, Any]) -> dict[str, Any]:
        if node.get("type") == "GeometryCollection" or "type" not in node:
            raise InvalidFilter("A GeometryCollection of the filter has a member that is no simple geometry.")
        return self._geometry(node)

    def _positions(self, kind: str, depth: int, node: Any) -> list[Any]:
        if depth == 0:
            return self._position(node)
        if not isinstance(node, list) or not node:
            raise InvalidFilter(f"A {kind} of the filter has {_shown(node)} where a list of positions is expected.")
        read = [self._positions(kind, depth - 1, each) for each in node]
        is_line = kind.endswith("LineString") and depth == 1
        is_ring = kind.endswith("Polygon") and depth == 1
        if is_line and len(read) < 2:
            raise InvalidFilter("A line of the filter has a single position.")
        if is_ring and (len(read) < 4 or read[0] != read[-1]):
            raise InvalidFilter("A ring of the filter is not closed, or has fewer than four positions.")
        return read

    def _position(self, node: Any) -> list[float]:
        self._vertices += 1
        if self._vertices > MOST_VERTICES:
            raise InvalidFilter(f"The filter has more than {MOST_VERTICES:,} vertices.", remedy="Simplify it.")
        if not isinstance(node, list) or not 2 <= len(node) <= 4:
            raise InvalidFilter(f"The filter has {_shown(node)} where a position is expected.")
        return [_finite(each) for each in node]

    @staticmethod
    def _box(node: Any) -> list[float]:
        if not isinstance(node, list) or len(node) not in (4, 6):
            raise InvalidFilter("A BBOX of the filter has four or six numbers.")
        box = [_finite(each) for each in node]
        half = len(box) // 2
        if any(low > high for low, high in zip(box[1:half], box[half + 1 :], strict=True)):
            raise InvalidFilter("A BBOX of the filter has a lower bound above its upper.")
        return box

    def _interval(self, node: Any) -> list[Any]:
        if not isinstance(node, list) or len(node) != 2:
            raise InvalidFilter("An INTERVAL of the filter has two ends.")
        ends = [self._end(each) for each in node]
        first, last = ends
        if isinstance(first, str) and isinstance(last, str) and ".." not in ends and _instant(first) > _instant(last):
            raise InvalidFilter("An INTERVAL of the filter ends before it starts.")
        return ends

    def _end(self, node: Any) -> Any:
        if isinstance(node, dict) and set(node) == {"property"}:
            return {"property": self._name(node["property"])}
        if node == "..":
            return node
        return _date(node) if isinstance(node, str) and _DATE.fullmatch(node) else _timestamp(node)


def _plain(text: str) -> str:
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise InvalidFilter("The filter has a text with a NUL, or with half a character.")
    return text


def _finite(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise InvalidFilter(f"The filter has {_shown(number)} where a finite number is expected.")
    return number


def _date(text: Any) -> str:
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            pass
    raise InvalidFilter(f"The filter has {_shown(text)} where a date (2020-12-31) is expected.")


def _timestamp(text: Any) -> str:
    if isinstance(text, str) and _DATE.fullmatch(text):
        return f"{_date(text)}T00:00:00Z"
    if isinstance(text, str) and _TIMESTAMP.fullmatch(text):
        try:
            return _instant(text).isoformat().replace("+00:00", "Z")
        except ValueError:
            pass
    raise InvalidFilter(f"The filter has {_shown(text)} where a timestamp (2020-12-31T23:59:59Z) is expected.")


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text.upper())
    return instant if instant.tzinfo else datetime.fromisoformat(f"{text}T00:00:00+00:00")


def _moment_of(text: str) -> dict[str, Any]:
    """What STAC's clients write as a mere text: an instant, a day or an interval."""
    first, slash, last = text.partition("/")
    if slash:
        return {"interval": [end if end == ".." else _moment(end) for end in (first or "..", last or "..")]}
    return {"date": _date(text)} if _DATE.fullmatch(text) else {"timestamp": _timestamp(text)}


def _moment(text: str) -> str:
    return _date(text) if _DATE.fullmatch(text) else _timestamp(text)


def _shown(value: Any) -> str:
    """A value for a message; of what has parts only its kind, as it may be of any size and depth."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)[:60]
