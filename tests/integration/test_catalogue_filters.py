"""Filters of /stac and /raster: what PgSTAC understands of CQL2, and no function by any of the doors to it.

Here: each door that takes a filter or a name. Not here: what is let through (`tests.unit.core.test_cql2`), tables
(`test_api_filters`).
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from geo_assets.api.cql2.expression import read_filter
from tests.api_server import served, settings_of

pytestmark = pytest.mark.attack

PLACES = "/stac/collections/places"


@pytest.fixture(scope="module")
def api(module_catalogue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API on a catalogue of five items, 0 to 4, a day and a degree apart."""
    sources = tmp_path_factory.mktemp("catalogue") / "sources.yaml"
    sources.write_text("sources: {}\n")
    with served(settings_of(module_catalogue, sources, api_requests_a_minute=100_000)) as client:
        collection = {
            "type": "Collection",
            "stac_version": "1.1.0",
            "id": "places",
            "description": "Places",
            "license": "other",
            "links": [],
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
            },
        }
        assert client.post("/stac/collections", json=collection).status_code == 201
        for number in range(5):
            item = {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": f"place-{number}",
                "geometry": {"type": "Point", "coordinates": [number, number]},
                "bbox": [number] * 4,
                "properties": {
                    "datetime": f"2020-01-0{number + 1}T12:00:00Z",
                    "number": number,
                    "name": ["Alm", "alm", "it's", "b%c", 'q"q'][number],
                    "tags": [f"t{number}", "all"],
                },
                "links": [],
                "assets": {},
            }
            assert client.post(f"{PLACES}/items", json=item).status_code == 201
        yield client


def text_doors(api: httpx.Client, text: str, language: str | None) -> Iterator[httpx.Response]:
    """The answers of all that take a filter as text."""
    params = {"filter": text} | ({"filter-lang": language} if language else {})
    for path in ("/stac/search", f"{PLACES}/items", "/stac/collections"):
        yield api.get(path, params=params)
    counted = {**params, "aggregations": "total_count"}
    yield api.get("/stac/aggregate", params=counted)
    yield api.get(f"{PLACES}/aggregate", params=counted)
    yield api.get("/raster/collections/places/info", params=params)


def json_doors(api: httpx.Client, expression: Any) -> Iterator[httpx.Response]:
    """The answers of all that take a filter in a body."""
    yield api.post("/stac/search", json={"filter": expression, "filter-lang": "cql2-json"})
    yield api.post("/stac/search", json={"filter": expression})
    yield api.post("/stac/aggregate", json={"filter": expression, "aggregations": ["total_count"]})
    yield api.post("/raster/searches/register", json={"filter": expression, "filter-lang": "cql2-json"})


def found(answer: httpx.Response) -> list[int]:
    """The numbers of the items of an answer."""
    assert answer.status_code == 200, answer.text
    return sorted(int(each["id"].removeprefix("place-")) for each in answer.json()["features"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id = 'place-3'", [3]),
        ("number > 2", [3, 4]),
        ("properties.number > 2", [3, 4]),
        ("number BETWEEN 1 AND 2 OR id = 'place-4'", [1, 2, 4]),
        ("NOT (number < 3)", [3, 4]),
        ("name IN ('Alm', 'it''s')", [0, 2]),
        ("name LIKE 'al%'", [1]),
        (r"name LIKE 'b\%c'", [3]),
        ("CASEI(name) = CASEI('ALM')", [0, 1]),
        ("name = 'q\"q'", [4]),
        ("absent IS NULL AND number = 1", [1]),
        ("number * 2 = 6", [3]),
        ("datetime > TIMESTAMP('2020-01-04T00:00:00Z')", [3, 4]),
        ("datetime >= DATE('2020-01-05')", [4]),
        ("T_INTERSECTS(datetime, INTERVAL('2020-01-01', '2020-01-02'))", [0, 1]),
        ("T_BEFORE(datetime, DATE('2020-01-02'))", [0]),
        ("S_INTERSECTS(geometry, BBOX(0.5,0.5,2.5,2.5))", [1, 2]),
        ("S_INTERSECTS(geometry, BBOX(0.5,0.5,0,2.5,2.5,9))", [1, 2]),
        ("S_INTERSECTS(geometry, BBOX(170,-1,1.5,2.5))", [0, 1]),
        ("S_INTERSECTS(geometry, POLYGON((0.5 0.5, 2.5 0.5, 2.5 2.5, 0.5 2.5, 0.5 0.5)))", [1, 2]),
        ("S_CONTAINS(BBOX(0.5,0.5,2.5,2.5), geometry)", [1, 2]),
        ("A_CONTAINS(tags, ('t2', 'all'))", [2]),
        ("A_CONTAINEDBY(tags, ('t2', 'all', 'x'))", [2]),
        ("A_OVERLAPS(tags, ('t2', 't3'))", [2, 3]),
    ],
)
def test_a_filter_finds_the_same_by_every_door(api: httpx.Client, text: str, expected: list[int]) -> None:
    expression = read_filter(text)
    assert found(api.get("/stac/search", params={"filter": text})) == expected
    assert found(api.get(f"{PLACES}/items", params={"filter": text, "filter-lang": "cql2-text"})) == expected
    as_json = {"filter": json.dumps(expression), "filter-lang": "cql2-json"}
    assert found(api.get("/stac/search", params=as_json)) == expected
    assert found(api.post("/stac/search", json={"filter": expression, "filter-lang": "cql2-json"})) == expected
    counted = api.get("/stac/aggregate", params={"filter": text, "aggregations": "total_count"}).json()
    assert counted["aggregations"][0]["value"] == len(expected)
    assert api.get("/raster/collections/places/info", params={"filter": text}).status_code == 200
    registered = api.post("/raster/searches/register", json={"filter": expression, "filter-lang": "cql2-json"})
    assert registered.status_code == 200, registered.text


def test_pages_of_a_filtered_search_follow_each_other(api: httpx.Client) -> None:
    address: str | None = f"{api.base_url}/stac/search?filter=number%20%3E%200&limit=3"
    numbers: list[int] = []
    while address:
        page = api.get(address)
        numbers += found(page)
        address = next((link["href"] for link in page.json()["links"] if link["rel"] == "next"), None)
    assert sorted(numbers) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "text",
    [
        "pg_sleep(5)",
        "pg_read_file('/etc/passwd')='x'",
        "set_config('role','none',false)='none'",
        "name LIKE casei(pg_read_file('/etc/passwd'))",
        "number BETWEEN pg_sleep(1) AND 3",
        "number IN (lo_creat(1))",
        "NOT query_to_xml('select 1',true,true,'') IS NULL",
        "S_INTERSECTS(geometry, ST_Buffer(geometry, 1))",
        "T_AFTER(datetime, now())",
        "A_CONTAINS(tags, (version()))",
        "upper(name) = 'ALM'",
        "number + random() = 1",
        "(" * 10_000,
        "(" * 40 + "number = @" + ")" * 40,
        "NOT " * 5_000 + "number = 1",
        "number = 1" + " AND (number = 1" * 400 + ")" * 400,
        "name = 'a\0b'",
        "number = 1e999",
        "number % 2 = 1",
        '{"op":"pg_sleep","args":[5]}',
        '{"op":"=","args":[{"op":"pg_read_file","args":["/etc/passwd"]},"x"]}',
        '{"op":"upper","args":[{"property":"name"}]}',
        '{"op":"and","args":[' * 200 + "true" + "]}" * 200,
        '{"eq":[{"property":"name"},"x"]}',
        '{"lower":{"property":"name"}}',
        '{"filter":{"op":"=","args":[{"property":"name"},"x"]}}',
        '{"op":"=","args":[{"property":""},"x"]}',
        '{"op":"=","args":[{"property":{"op":"version"}},"x"]}',
        '{"op":"=","args":[{"property":"name"},NaN]}',
        '{"op":"in","args":[{"property":"name"},"x"]}',
        '{"op":"s_intersects","args":[{"property":"name"},{"bbox":[0,0,1,1]}]}',
        '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}]}',
        '{"op":"t_after","args":[{"property":"datetime"},{"timestamp":"tomorrow"}]}',
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_cql2_is_refused_by_every_door(api: httpx.Client, text: str) -> None:
    languages = (None, "cql2-text", "cql2-json") if len(text) < 20 else (None,)
    answers = [answer for language in languages for answer in text_doors(api, text, language)]
    answers += json_doors(api, json.loads(text)) if text.startswith("{") and "NaN" not in text else ()
    for answer in answers:
        assert answer.status_code in (400, 413), (answer.request.url, answer.status_code, answer.text[:300])
        assert "root:" not in answer.text
        assert answer.elapsed.total_seconds() < 5
    assert found(api.get("/stac/search", params={"filter": "number = 3"})) == [3]


@pytest.mark.parametrize(
    "name",
    ["a'b", 'a"b', "a\\'b", "a' || pg_sleep(5) || '", "a->'b'", "properties.a'); --", "%s", "$1", "{}", "x" * 400],
)
def test_a_name_is_a_name_wherever_it_stands(api: httpx.Client, name: str) -> None:
    """PgSTAC lets a filter, an order, fields and a query name any property: none of them becomes SQL."""
    every = [0, 1, 2, 3, 4]
    expression = {"op": "isNull", "args": [{"property": name}]}
    assert found(api.post("/stac/search", json={"filter": expression})) == every
    assert found(api.post("/stac/search", json={"sortby": [{"field": name, "direction": "asc"}]})) == every
    assert found(api.post("/stac/search", json={"query": {name: {"eq": "x"}}})) == []
    assert found(api.post("/stac/search", json={"query": {name: {"startsWith": name}}})) == []
    assert found(api.post("/stac/search", json={"fields": {"include": [name], "exclude": []}})) == every
    assert found(api.get("/stac/search", params={"sortby": name, "fields": f"id,{name}"})) == every
    assert found(api.get("/stac/search", params={"ids": name})) == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.post("/stac/search", json={"query": {"a": {"eq": {"op": "upper", "args": ["x"]}}}}),
        lambda api: api.post("/stac/search", json={"query": {"a": {"eq": [1, [2]]}}}),
        lambda api: api.post("/stac/search", json={"query": {"a": {"pg_sleep": 5}}}),
        lambda api: api.post("/stac/search", json={"sortby": [{"field": "a", "direction": "asc; select 1"}]}),
        lambda api: api.post("/stac/search", json={"filter": True}),
        lambda api: api.post("/stac/search", json={"filter": "pg_sleep(5)", "filter-lang": "cql2-text"}),
        lambda api: api.post("/stac/search", json={"filter": {"op": "=", "args": [1, 1]}, "filter-lang": "sql"}),
        lambda api: api.get("/stac/search", params={"filter": "a = 1", "filter-lang": "sql"}),
        lambda api: api.get("/stac/search", params={"query": "{"}),
        lambda api: api.get("/stac/search", params={"query": "[1]"}),
        lambda api: api.get("/stac/search", params={"intersects": "POINT(1 1)"}),
        lambda api: api.get("/stac/search", params={"query": '{"a":{"eq":{"op":"pg_sleep","args":[5]}}}'}),
    ],
)
def test_what_is_no_question_is_refused(api: httpx.Client, ask: Callable[[httpx.Client], httpx.Response]) -> None:
    answer = ask(api)
    assert answer.status_code in (400, 422), answer.text
