"""Reading filters without a database: what the grammar means, what is let through, and what ends before it is large."""

import contextlib
import json
import time
from typing import Any

import cql2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.api.cql2.expression import MOST_BYTES, allow_filter, read_filter
from geo_assets.api.cql2.text import MOST_NESTED
from geo_assets.errors import InvalidFilter
from tests.filter_grammar import EXPRESSIONS, JUNK

pytestmark = pytest.mark.attack


@given(EXPRESSIONS)
def test_what_another_program_writes_as_text_is_read_as_it_was_meant(expression: dict[str, Any]) -> None:
    """The library cql2 writes the text and says what it means; ours has to mean the same."""
    text = cql2.Expr(expression).to_text()
    assert flat(read_filter(text)) == flat(cql2.parse_text(text).to_json())


def flat(node: Any) -> Any:
    """The expression without the brackets that only group what is grouped anyway."""
    if isinstance(node, list):
        return [flat(each) for each in node]
    if not isinstance(node, dict):
        return node
    args = {name: flat(value) for name, value in node.items()}
    if args.get("op") in ("and", "or"):
        args["args"] = [
            inner
            for each in args["args"]
            for inner in (each["args"] if isinstance(each, dict) and each.get("op") == args["op"] else [each])
        ]
    return args


@given(EXPRESSIONS)
def test_what_is_let_through_comes_out_as_it_went_in(expression: dict[str, Any]) -> None:
    assert allow_filter(expression) == expression
    assert read_filter(json.dumps(expression)) == expression


@given(st.text(max_size=40) | st.text("()'\"abcORNTDLIKE=<>,.-+*/ 019", max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidFilter):
        read_filter(text)


@given(JUNK)
def test_any_document_is_a_filter_or_is_refused(document: Any) -> None:
    with contextlib.suppress(InvalidFilter):
        allow_filter(document)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pg_sleep(1)", "pg_sleep"),
        ("height = lower(name)", "lower"),
        ('{"op":"pg_sleep","args":[1]}', "pg_sleep"),
        ('{"op":"=","args":[{"property":"secret"},1]}', "secret"),
        ("height = secret", "secret"),
        ("height = 'x'; DROP", "; DROP"),
        ("height = 1 2", "2"),
        ('{"op":"=","args":[{"op":"and","args":[true]},{"date":"x"}]}', "x"),
        ("S_INTERSECTS(height, 3)", "3"),
    ],
)
def test_a_refusal_names_the_word(text: str, word: str) -> None:
    with pytest.raises(InvalidFilter, match="filter") as refused:
        read_filter(text, names={"height", "name"})
    assert word in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * 99_000,
        "(" * (MOST_NESTED + 1) + "a" + ")" * (MOST_NESTED + 1),
        "(" * 45 + "a = @" + ")" * 45,
        "NOT " * 24_000 + "a",
        "a = " + "-" * 99_000 + "1",
        "a = " + "1+" * 49_000 + "1",
        "a" + "=a" * 49_000,
        "casei(" * 16_000,
        "a_contains(" * 9_000,
        "GEOMETRYCOLLECTION(" * 5_000,
        "a or b and c = d + e * (" * 4_000,
        "a IN (" + "1," * 49_000 + "1)",
        "S_INTERSECTS(g, MULTIPOINT(" + "1 1," * 24_000 + "1 1))",
        "'" * 99_001,
        '"' * 99_001,
        "x" * (MOST_BYTES + 1),
        '{"op":"not","args":[' * 4_000,
        '{"op":"not","args":[' * 60 + "true" + "]}" * 60,
        '{"op":"in","args":[{"property":"a"},' + "[" * 99_000,
        '{"op":"in","args":[{"property":"a"},[' + "1," * 49_000 + "1]]}",
        '{"op":"and","args":[' + "true," * 19_000 + "true]}",
    ],
    ids=lambda text: text[:12],
)
def test_a_filter_that_is_too_large_is_refused_soon(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidFilter):
        read_filter(text)
    assert time.process_time() - began < 2


def test_bounds_are_of_depth_not_of_width() -> None:
    wide = " AND ".join(["a = 1"] * 1000)
    read = read_filter(wide)
    assert isinstance(read, dict)
    assert len(read["args"]) == 1000
    assert read_filter("(" * MOST_NESTED + "a" + ")" * MOST_NESTED) == {"property": "a"}


def test_long_whole_numbers_keep_their_last_digit() -> None:
    assert read_filter("a = 9007199254740993") == {"op": "=", "args": [{"property": "a"}, 9007199254740993]}
