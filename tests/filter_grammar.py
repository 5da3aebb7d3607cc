"""Filters that tests make by chance: expressions of CQL2, their texts, and what only looks like one.

Here: strategies of hypothesis, without any package of this project, as programs with other packages use them too.
"""

import json
from typing import Any

import cql2
from hypothesis import strategies as st

_NAMES = st.sampled_from(
    ["a", "eo:cloud_cover", "b_2", "properties.x", "Ünder", "number", "name", "geom", "geometry", "datetime"]
)
# Eighths: the library's text and its reading of that differ in the last digit of others.
_NUMBERS = st.integers(-(10**9), 10**9).map(lambda number: number / 8)
_WORDS = st.text(st.characters(blacklist_characters="\0\\'", blacklist_categories=["Cs"]), max_size=8)
_PROPERTIES = _NAMES.map(lambda name: {"property": name})


def _operation(names: list[str], *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Operators of these names on arguments drawn from ``args``."""
    return st.builds(lambda name, *drawn: {"op": name, "args": list(drawn)}, st.sampled_from(names), *args)


# Without div, which the library that writes the texts writes as a function that is none of CQL2.
_ARITHMETIC = st.recursive(
    _NUMBERS | _PROPERTIES, lambda inner: _operation(["+", "-", "*", "/", "%", "^"], inner, inner), max_leaves=4
)
_POINTS = st.tuples(_NUMBERS, _NUMBERS).map(lambda at: {"type": "Point", "coordinates": list(at)})
_COMPARISONS = (
    _operation(["=", "<>", "<", ">", "<=", ">="], _ARITHMETIC, _ARITHMETIC)
    | _operation(["="], _PROPERTIES, _WORDS)
    | _operation(["like"], _operation(["casei", "accenti"], _PROPERTIES), _WORDS)
    | _operation(["between"], _PROPERTIES, _NUMBERS, _NUMBERS)
    | _operation(["in"], _PROPERTIES, st.lists(_NUMBERS, min_size=1, max_size=3))
    | _operation(["isNull"], _PROPERTIES)
    | _operation(["t_after", "t_metBy"], _PROPERTIES, st.dates().map(lambda day: {"date": day.isoformat()}))
    | _operation(["s_intersects", "s_within", "s_touches"], _PROPERTIES, _POINTS)
    | _operation(["a_contains", "a_overlaps"], _PROPERTIES, st.lists(_WORDS, min_size=2, max_size=3))
)
EXPRESSIONS = st.recursive(
    _COMPARISONS,
    lambda inner: _operation(["and", "or"], inner, inner) | _operation(["not"], inner),
    max_leaves=6,
)
"""Expressions that CQL2 has, of properties that mostly are not there."""

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["op", "args", "property", "type", "coordinates", "bbox", "interval", "date", "x"]), inner
        )
    ),
    max_leaves=12,
)
"""Documents with the keys of expressions in places that are not theirs."""

_SCRAP = """
    a height geom = < ( ) , 'x' 1 - AND NOT IN LIKE BETWEEN IS NULL ^ ' CASEI( S_INTERSECTS( POINT(0,0)
    BBOX(0,0,1,1) DATE('2020-01-01') pg_sleep(
"""
_SCRAPS = st.lists(st.sampled_from(_SCRAP.split()), max_size=12).map(" ".join)
TEXTS_OF_FILTERS = (
    EXPRESSIONS.map(lambda expression: cql2.Expr(expression).to_text())
    | EXPRESSIONS.map(json.dumps)
    | JUNK.map(json.dumps)
    | _SCRAPS
    | st.text(max_size=20)
)
"""Texts of filters in both encodings, and of none."""
