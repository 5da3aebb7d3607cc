"""The text encoding of CQL2 (OGC 21-065r2, annex B) read into the JSON encoding.

Here: tokens and grammar. Not here: which operators and names are let through (`expression`).

Why not the library that others use for this: of 20,000 opening brackets it makes a crash of the whole process, and
of a few dozen a request without an end. This reads each token once, and stops at `MOST_NESTED`.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from geo_assets.errors import InvalidFilter

MOST_NESTED = 50
"""How deep a filter may be nested, in brackets as in operators."""

_MOST_TOKENS = 40_000
_MOST_RECURSIONS = 2 * MOST_NESTED + 1  # a pair of brackets is two of them
_Read = TypeVar("_Read")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>'(?:''|\\'|[^'])*')
    | (?P<quoted>"(?:""|[^"])+")
    | (?P<word>[^\W\d][\w.:]*|:[\w.:]+)
    | (?P<sign><>|<=|>=|[<>=+\-*/%^(),])
    )""",
    re.VERBOSE,
)
_COMPARED = ("=", "<>", "<", ">", "<=", ">=")
_GEOMETRIES = {
    "point": ("Point", 0),
    "linestring": ("LineString", 1),
    "polygon": ("Polygon", 2),
    "multipoint": ("MultiPoint", 1),
    "multilinestring": ("MultiLineString", 2),
    "multipolygon": ("MultiPolygon", 3),
}
"""Each type of WKT: its name in GeoJSON, and how deep its positions lie in lists."""
_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _POWER, _SIGN = range(1, 9)
_BINARY = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(_COMPARED, _COMPARISON),
    **dict.fromkeys(("not", "like", "between", "in", "is"), _COMPARISON),
    **dict.fromkeys(("+", "-"), _SUM),
    **dict.fromkeys(("*", "/", "%", "div"), _PRODUCT),
    "^": _POWER,
}


def parse_text(text: str, functions: frozenset[str]) -> Any:
    """The expression as CQL2 JSON; only ``functions`` (in lower case) may be called. Raises InvalidFilter."""
    return _Parser(text, functions).parse()


class _Parser:
    """One reading of one text, by precedence climbing."""

    def __init__(self, text: str, functions: frozenset[str]) -> None:
        self._functions = functions
        self._tokens = _tokens(text)
        self._at = 0
        self._nested = 0

    def parse(self) -> Any:
        expression = self._expression(_OR)
        if self._kind != "end":
            raise self._unexpected()
        return expression

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0]

    @property
    def _value(self) -> str:
        return self._tokens[self._at][1]

    @property
    def _word(self) -> str:
        """The token as an operator is written, or nothing for names in quotes, numbers and texts."""
        kind, value = self._tokens[self._at]
        return value.lower() if kind in ("word", "sign") else ""

    def _take(self) -> str:
        value = self._value
        self._at += 1
        return value

    def _accept(self, word: str) -> bool:
        if self._word != word:
            return False
        self._at += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._unexpected(f"{word} is expected")

    def _unexpected(self, expected: str = "") -> InvalidFilter:
        found = f"ends too early, after {self._at} words" if self._kind == "end" else f"has {self._value[:60]!r} where"
        if self._kind == "end":
            return InvalidFilter(f"The filter {found}{f'; {expected}' if expected else ''}.")
        return InvalidFilter(f"The filter {found} {expected or 'CQL2 has no such word'}.")

    def _expression(self, least: int) -> Any:
        """What follows, of operators that bind as ``least`` does or closer."""
        self._descend()
        left = self._operand()
        while (binds := _BINARY.get(self._word, 0)) >= least:
            left = self._comparison(left) if binds == _COMPARISON else self._operation(left, binds)
        self._nested -= 1
        return left

    def _operation(self, left: Any, binds: int) -> Any:
        operator = self._word
        if operator in ("and", "or"):
            args = [left]
            while self._accept(operator):
                args.append(self._expression(binds + 1))
            return {"op": operator, "args": args}
        self._at += 1
        return {"op": operator, "args": [left, self._expression(binds + 1)]}

    def _comparison(self, left: Any) -> Any:
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("null")
            return _not({"op": "isNull", "args": [left]}, negated)
        negated = self._accept("not")
        operator = self._word
        if negated and operator not in ("like", "between", "in"):
            raise self._unexpected("LIKE, BETWEEN or IN is expected after NOT")
        self._at += 1
        if operator == "between":
            low = self._expression(_SUM)
            self._expect("and")
            return _not({"op": "between", "args": [left, low, self._expression(_SUM)]}, negated)
        if operator == "in":
            return _not({"op": "in", "args": [left, self._list()]}, negated)
        return _not({"op": operator, "args": [left, self._expression(_SUM)]}, negated)

    def _operand(self) -> Any:
        kind, word = self._kind, self._word
        if kind == "number":
            return _number(self._take())
        if kind == "text":
            return _text(self._take())
        if kind == "quoted":
            return {"property": self._take()[1:-1].replace('""', '"')}
        if word == "not":
            self._at += 1
            return {"op": "not", "args": [self._expression(_NOT)]}
        if word in ("-", "+"):
            self._at += 1
            value = self._expression(_SIGN)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value if word == "-" else value
            return {"op": "*", "args": [-1, value]} if word == "-" else value
        if word == "(":
            return self._in_brackets(lambda: self._expression(_OR))
        if kind == "word" and word not in _BINARY and word != "null":
            return self._named()
        raise self._unexpected("a value is expected")

    def _named(self) -> Any:
        """A property, a literal that is written with a word, or a function."""
        name = self._take()
        word = name.lower()
        zed = word in _GEOMETRIES and self._word in ("z", "m", "zm") and self._tokens[self._at + 1][1] == "("
        if self._word != "(" and not zed:
            return {"true": True, "false": False}.get(word, {"property": name})
        if zed:
            self._at += 1
        if word in _GEOMETRIES:
            kind, depth = _GEOMETRIES[word]
            return {"type": kind, "coordinates": self._positions(depth)}
        if word == "geometrycollection":
            members = self._in_brackets(lambda: self._separated(self._operand))
            return {"type": "GeometryCollection", "geometries": members}
        if word == "bbox":
            return {"bbox": self._in_brackets(lambda: self._separated(self._coordinate))}
        if word in ("date", "timestamp"):
            return {word: self._in_brackets(self._instant)}
        if word == "interval":
            return {word: self._in_brackets(lambda: self._separated(self._instant))}
        if word not in self._functions:
            raise InvalidFilter(f"The filter calls {name[:60]}(), which is no function of CQL2.")
        takes_lists = word.startswith("a_")
        argument = self._list_or_operand if takes_lists else lambda: self._expression(_OR)
        args = [] if self._is_empty() else self._in_brackets(lambda: self._separated(argument))
        return {"op": word, "args": args}

    def _is_empty(self) -> bool:
        if self._tokens[self._at + 1][1] != ")" or self._tokens[self._at + 1][0] != "sign":
            return False
        self._at += 2
        return True

    def _instant(self) -> Any:
        if self._kind == "text":
            return _text(self._take())
        if self._kind in ("word", "quoted") and self._tokens[self._at + 1][1] != "(":
            return self._operand()
        raise self._unexpected("an instant in quotes is expected")

    def _list_or_operand(self) -> Any:
        return self._list() if self._word == "(" else self._operand()

    def _list(self) -> list[Any]:
        if self._word == "(" and self._is_empty():
            return []
        return list(self._in_brackets(lambda: self._separated(lambda: self._expression(_OR))))

    def _positions(self, depth: int) -> Any:
        if depth == 0:
            return self._in_brackets(self._position)
        if depth == 1:
            return self._in_brackets(lambda: self._separated(self._bare_position))
        return self._in_brackets(lambda: self._separated(lambda: self._positions(depth - 1)))

    def _bare_position(self) -> list[float]:
        return self._in_brackets(self._position) if self._word == "(" else self._position()

    def _position(self) -> list[float]:
        position = [self._coordinate()]
        while self._kind == "number" or self._word in ("-", "+"):
            position.append(self._coordinate())
        return position

    def _coordinate(self) -> float:
        negative = self._accept("-")
        if not negative:
            self._accept("+")
        if self._kind != "number":
            raise self._unexpected("a number is expected")
        value = _number(self._take())
        return -value if negative else value

    def _in_brackets(self, read: Callable[[], _Read]) -> _Read:
        self._expect("(")
        self._descend()
        inner = read()
        self._nested -= 1
        self._expect(")")
        return inner

    def _descend(self) -> None:
        self._nested += 1
        if self._nested > _MOST_RECURSIONS:
            raise InvalidFilter(f"The filter is nested more than {MOST_NESTED} deep.")

    def _separated(self, read: Callable[[], _Read]) -> list[_Read]:
        found = [read()]
        while self._accept(","):
            found.append(read())
        return found


def _tokens(text: str) -> list[tuple[str, str]]:
    """Each token with its kind, and two more for the end, so that there is always a next one to look at."""
    found = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise InvalidFilter(f"The filter has {text[at : at + 20].strip()!r}, which begins no word of CQL2.")
        found.append((match.lastgroup, match[match.lastgroup]))
        if len(found) > _MOST_TOKENS:
            raise InvalidFilter(f"The filter has more than {_MOST_TOKENS:,} words.", remedy="Ask in parts, or as JSON.")
        at = match.end()
    return [*found, ("end", ""), ("end", "")]


def _not(expression: Any, negated: bool) -> Any:
    return {"op": "not", "args": [expression]} if negated else expression


def _number(digits: str) -> float:
    """A whole number as such, so that a long id keeps its last digits."""
    return int(digits) if digits.isdigit() and len(digits) <= 18 else float(digits)


def _text(quoted: str) -> str:
    return re.sub(r"''|\\'", "'", quoted[1:-1])
