"""Filters of /features: CQL2 as its conformance classes have it, and nothing else that the database could do.

Here: what a filter finds against what is known of the rows, and what is refused. Not here: reading a filter without
a database (`tests.unit.core.test_cql2`), the catalogue's filters (`test_catalogue_filters`).
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from geo_assets.api.features import CQL2_CLASSES
from tests.api_server import served_by_command
from tests.places import TABLES

pytestmark = pytest.mark.attack

PLACES, GRID = "vectors.places", "vectors.grid"
EVERY = list(range(9))


@pytest.fixture(scope="module")
def database(module_catalogue: str) -> str:
    """The URL of a database with the two tables, which are published."""
    with psycopg.connect(module_catalogue) as connection:
        connection.execute(TABLES)
    return module_catalogue


@pytest.fixture(scope="module")
def api(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """`geo-assets serve` on that database, in a process of its own."""
    sources = tmp_path_factory.mktemp("filters") / "sources.yaml"
    sources.write_text("sources: {}\n")
    with served_by_command(database, sources) as client:
        yield client


def ask(api: httpx.Client, table: str = PLACES, **asked: Any) -> httpx.Response:
    """The items of a table that ``asked`` means."""
    return api.get(f"/features/collections/{table}/items", params={"f": "geojson", "limit": 100, **asked})


def found(api: httpx.Client, expression: Any, table: str = PLACES, **asked: Any) -> list[int]:
    """The heights of the rows that a filter finds, in order."""
    text = expression if isinstance(expression, str) else json.dumps(expression)
    answer = ask(api, table, filter=text, **asked)
    assert answer.status_code == 200, (text, answer.text)
    return sorted(feature["properties"]["height"] for feature in answer.json()["features"])


DISTANT = {"type": "Point", "coordinates": [3, 1.5]}
# Each with what it finds; the classes after their names in `/conformance`.
TEXTS: dict[str, dict[str, list[int]]] = {
    "basic-cql2": {
        "height = 3": [3],
        "height <> 3": [0, 1, 2, 4, 5, 6, 7, 8],
        "height < 3": [0, 1, 2],
        "height <= 3": [0, 1, 2, 3],
        "height > 6": [7, 8],
        "height >= 6": [6, 7, 8],
        "share = 0.75": [3],
        "height = 3.5": [],
        "name = 'Alm'": [0],
        "name = 'it''s'": [5],
        r"name = 'back\slash'": [6],
        "name = '$1 {0}'": [7],
        "\"user\" = 'u4'": [4],
        "user = 'u4'": [4],
        '"a""b" = \'q2\'': [2],
        "gid = 9007199254740993": [3],
        "gid = 9007199254740992": [2],
        "flag": [0, 2, 4, 6, 8],
        "NOT flag": [1, 3, 5, 7],
        "flag = true AND height > 4": [6, 8],
        "flag = FALSE": [1, 3, 5, 7],
        "height = 1 OR height = 2 AND flag": [1, 2],
        "(height = 1 OR height = 2) AND flag": [2],
        "NOT (height < 7)": [7, 8],
        "name IS NULL": [8],
        "name IS NOT NULL AND height > 6": [7],
        "seen > TIMESTAMP('2020-01-07T00:00:00Z')": [6, 7, 8],
        "seen = TIMESTAMP('2020-01-02T13:00:00+01:00')": [1],
        "clock = TIMESTAMP('2020-01-02T12:00:00Z')": [1],
        "made = DATE('2020-01-03')": [2],
        "made >= DATE('2020-01-08')": [7, 8],
    },
    "advanced-comparison-operators": {
        "name LIKE 'Al%'": [0],
        "name LIKE '_lm'": [0, 1, 2],
        r"name LIKE 'b\%c'": [3],
        r"name LIKE 'b\_c'": [4],
        "name NOT LIKE '%l%' AND height < 6": [3, 4, 5],
        "height BETWEEN 3 AND 5": [3, 4, 5],
        "height NOT BETWEEN 1 AND 8": [0],
        "seen BETWEEN TIMESTAMP('2020-01-02T00:00:00Z') AND TIMESTAMP('2020-01-03T23:00:00Z')": [1, 2],
        "height IN (1, 3, 77)": [1, 3],
        "height NOT IN (0, 1, 2, 3, 4, 5)": [6, 7, 8],
        "name IN ('Alm', 'it''s')": [0, 5],
    },
    "case-insensitive-comparison": {
        "CASEI(name) = CASEI('ALM')": [0, 1],
        "CASEI(name) LIKE casei('AL%')": [0, 1],
        "casei(name) IN (casei('ALM'), CASEI('IT''S'))": [0, 1, 5],
    },
    "accent-insensitive-comparison": {
        "ACCENTI(name) = accenti('Älm')": [0, 2],
        "CASEI(ACCENTI(name)) = 'alm'": [0, 1, 2],
    },
    "basic-spatial-functions": {
        "S_INTERSECTS(geom, POINT(3 1.5))": [3],
        "S_INTERSECTS(geom, BBOX(0,0,3,3))": [0, 1, 2, 3],
        "s_intersects(geom,BBOX(0,0,3,3))": [0, 1, 2, 3],
        "S_INTERSECTS(geom, BBOX(0,0,-100,3,3,100))": [0, 1, 2, 3],
        "S_INTERSECTS(geom, BBOX(170,-10,2,10))": [0, 1, 2],
    },
    "basic-spatial-functions-plus": {
        "S_INTERSECTS(geom, POLYGON((0 0, 2.5 0, 2.5 5, 0 5, 0 0)))": [0, 1, 2],
        "S_INTERSECTS(geom, POLYGON((0 0, 9 0, 9 9, 0 9, 0 0), (0.5 0, 8.5 0, 8.5 8, 0.5 8, 0.5 0)))": [0],
        "S_INTERSECTS(geom, LINESTRING(-1 -0.5, 1.5 0.75))": [0, 1],
        "S_INTERSECTS(geom, MULTIPOINT((0 0), (8 4)))": [0, 8],
        "S_INTERSECTS(geom, MULTIPOINT(0 0, 8 4))": [0, 8],
        "S_INTERSECTS(geom, MULTIPOLYGON(((0 0,1 0,1 1,0 1,0 0)),((7 3,9 3,9 5,7 5,7 3))))": [0, 1, 7, 8],
        "S_INTERSECTS(geom, MULTILINESTRING((0 0, 1 0.5), (7 3.5, 8 4)))": [0, 1, 7, 8],
        "S_INTERSECTS(geom, GEOMETRYCOLLECTION(POINT(2 1), LINESTRING(7 3.5, 8 4)))": [2, 7, 8],
        "S_INTERSECTS(geom, POINT Z (3 1.5 7))": [3],
    },
    "spatial-functions": {
        "S_EQUALS(geom, POINT(3 1.5))": [3],
        "S_DISJOINT(geom, BBOX(0,0,6.5,4))": [7, 8],
        "S_WITHIN(geom, BBOX(0.5,0,2.5,4))": [1, 2],
        "S_CONTAINS(BBOX(0.5,0,2.5,4), geom)": [1, 2],
        "S_TOUCHES(geom, BBOX(0,0,2,1))": [0, 2],
        "S_CROSSES(geom, LINESTRING(0 0, 1 1))": [],
        "S_OVERLAPS(geom, POINT(1 1))": [],
    },
    "temporal-functions": {
        "T_AFTER(seen, TIMESTAMP('2020-01-07T12:00:00Z'))": [7, 8],
        "T_BEFORE(seen, DATE('2020-01-03'))": [0, 1],
        "T_AFTER(seen, DATE('2020-01-07'))": [7, 8],
        "T_EQUALS(made, DATE('2020-01-03'))": [2],
        "T_EQUALS(seen, TIMESTAMP('2020-01-03T12:00:00Z'))": [2],
        "T_DURING(seen, INTERVAL('2020-01-02', '2020-01-04'))": [1, 2, 3],
        "T_DURING(seen, INTERVAL('..', '2020-01-02T00:00:00Z'))": [0],
        "T_INTERSECTS(seen, INTERVAL('2020-01-08T00:00:00Z', '..'))": [7, 8],
        "T_DISJOINT(seen, INTERVAL('2020-01-01', '2020-01-08'))": [8],
        "T_INTERSECTS(INTERVAL(made, seen), INTERVAL('2020-01-01T00:00:00Z', '2020-01-02T00:00:00Z'))": [0, 1],
        "T_CONTAINS(INTERVAL(made, seen), TIMESTAMP('2020-01-02T06:00:00Z'))": [1],
        "T_STARTS(made, INTERVAL('2020-01-05T00:00:00Z', '..'))": [4],
        "T_STARTEDBY(INTERVAL(made, '..'), DATE('2020-01-05'))": [4],
        "T_FINISHES(seen, INTERVAL('..', '2020-01-02T12:00:00Z'))": [1],
        "T_FINISHEDBY(INTERVAL('..', seen), TIMESTAMP('2020-01-02T12:00:00Z'))": [1],
        "T_MEETS(INTERVAL('..', seen), INTERVAL('2020-01-02T12:00:00Z', '..'))": [1],
        "T_METBY(INTERVAL(seen, '..'), INTERVAL('..', '2020-01-02T12:00:00Z'))": [1],
        "T_OVERLAPS(INTERVAL(made, seen), INTERVAL('2020-01-02T06:00:00Z', '..'))": [1, 2, 3, 4, 5, 6, 7, 8][:1],
        "T_OVERLAPPEDBY(INTERVAL(made, seen), INTERVAL('..', '2020-01-02T06:00:00Z'))": [1],
    },
    "array-functions": {
        "A_CONTAINS(tags, ('t3', 'all'))": [3],
        "A_CONTAINS(tags, ('all'))": EVERY,
        "A_EQUALS(tags, ('all', 't4'))": [4],
        "A_OVERLAPS(tags, ('t1', 't2', 'x'))": [1, 2],
        "A_CONTAINEDBY(tags, ('t5', 'all', 'more'))": [5],
        "A_CONTAINS(sizes, (3, 100))": [3],
        "A_OVERLAPS(sizes, (1, 2))": [1, 2],
    },
    "property-property": {
        "height = share": [0],
        "height > share AND height < 2": [1],
        "name = name AND height < 2": [0, 1],
        "share BETWEEN height AND height": [0],
    },
    "arithmetic": {
        "height + 1 = 4": [3],
        "height = 2 + 3 * 2": [8],
        "height = (2 + 1) * 2": [6],
        "height / 2 = 1.5": [3],
        "height DIV 2 = 1": [2, 3],
        "height % 3 = 0": [0, 3, 6],
        "height ^ 2 = 49": [7],
        "-height = -5": [5],
        "height - 1 > share * 4 - 1.5 AND height < 2": [0, 1],
        "height * 1000000000 > 7500000000": [8],
    },
}
JSONS: dict[str, list[tuple[Any, list[int]]]] = {
    "basic-cql2": [
        ({"op": "=", "args": [{"property": "gid"}, 9007199254740993]}, [3]),
        ({"op": "<>", "args": [{"property": "height"}, 3]}, [0, 1, 2, 4, 5, 6, 7, 8]),
        ({"op": "and", "args": [{"op": ">", "args": [{"property": "height"}, 4]}, {"property": "flag"}]}, [6, 8]),
        ({"op": "not", "args": [{"op": "isNull", "args": [{"property": "name"}]}]}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"op": "=", "args": [{"property": "made"}, {"date": "2020-01-03"}]}, [2]),
        ({"op": "<", "args": [{"property": "seen"}, {"timestamp": "2020-01-02T00:00:00Z"}]}, [0]),
    ],
    "advanced-comparison-operators": [
        ({"op": "like", "args": [{"property": "name"}, "b\\%c"]}, [3]),
        ({"op": "between", "args": [{"property": "height"}, 3, 5]}, [3, 4, 5]),
        ({"op": "in", "args": [{"property": "name"}, ["it's", "back\\slash", "$1 {0}"]]}, [5, 6, 7]),
    ],
    "case-insensitive-comparison": [
        (
            {"op": "=", "args": [{"op": "casei", "args": [{"property": "name"}]}, {"op": "casei", "args": ["ALM"]}]},
            [0, 1],
        )
    ],
    "accent-insensitive-comparison": [
        ({"op": "=", "args": [{"op": "accenti", "args": [{"property": "name"}]}, "Alm"]}, [0, 2])
    ],
    "basic-spatial-functions": [
        ({"op": "s_intersects", "args": [{"property": "geom"}, DISTANT]}, [3]),
        ({"op": "s_intersects", "args": [{"property": "geom"}, {"bbox": [0, 0, 3, 3]}]}, [0, 1, 2, 3]),
        ({"op": "s_intersects", "args": [{"property": "geom"}, {"bbox": [0, 0, -5, 3, 3, 5]}]}, [0, 1, 2, 3]),
    ],
    "basic-spatial-functions-plus": [
        (
            {
                "op": "s_intersects",
                "args": [
                    {"property": "geom"},
                    {"type": "Polygon", "coordinates": [[[0, 0], [2.5, 0], [2.5, 5], [0, 5], [0, 0]]]},
                ],
            },
            [0, 1, 2],
        ),
        (
            {
                "op": "s_intersects",
                "args": [{"property": "geom"}, {"type": "GeometryCollection", "geometries": [DISTANT]}],
            },
            [3],
        ),
    ],
    "spatial-functions": [({"op": "s_equals", "args": [DISTANT, {"property": "geom"}]}, [3])],
    "temporal-functions": [
        ({"op": "t_during", "args": [{"property": "seen"}, {"interval": ["2020-01-02", "2020-01-04"]}]}, [1, 2, 3]),
        (
            {
                "op": "t_finishedBy",
                "args": [{"interval": ["..", {"property": "seen"}]}, {"timestamp": "2020-01-02T12:00:00Z"}],
            },
            [1],
        ),
    ],
    "array-functions": [({"op": "a_containedBy", "args": [{"property": "tags"}, ["t5", "all", "more"]]}, [5])],
    "property-property": [({"op": "=", "args": [{"property": "height"}, {"property": "share"}]}, [0])],
    "arithmetic": [({"op": "=", "args": [{"op": "div", "args": [{"property": "height"}, 2]}, 1]}, [2, 3])],
}


def test_every_class_that_is_declared_has_its_examples(api: httpx.Client) -> None:
    declared = api.get("/features/conformance?f=json").json()["conformsTo"]
    prefix = "http://www.opengis.net/spec/cql2/1.0/conf/"
    names = [each.removeprefix(prefix) for each in declared if each.startswith(prefix)]
    assert names == list(CQL2_CLASSES)
    assert set(names) == set(TEXTS) | {"cql2-text", "cql2-json"} == set(JSONS) | {"cql2-text", "cql2-json"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_class_finds_what_it_should(api: httpx.Client, name: str) -> None:
    wrong = {text: rows for text, expected in TEXTS[name].items() if (rows := found(api, text)) != expected}
    assert wrong == {}
    for expression, expected in JSONS[name]:
        assert found(api, expression) == expected, expression
        assert found(api, expression, **{"filter-lang": "cql2-json"}) == expected


def test_geometries_are_put_into_the_crs_of_the_table(api: httpx.Client) -> None:
    """The table is of UTM 33; what is asked is in degrees, unless `filter-crs` says else."""
    assert found(api, "S_INTERSECTS(geom, BBOX(11.5,49.5,14.5,50.5))", GRID) == [0, 1, 2]
    assert found(api, "S_INTERSECTS(geom, BBOX(11.5,49.5,0,14.5,50.5,9))", GRID) == [0, 1, 2]
    assert found(api, "S_INTERSECTS(geom, POLYGON((11 49, 14.5 49, 14.5 51, 11 51, 11 49)))", GRID) == [0, 1, 2]
    assert list(found(api, "height >= 0", GRID, bbox="11.5,49.5,14.5,50.5")) == [0, 1, 2]
    epsg = "http://www.opengis.net/def/crs/EPSG/0/"
    utm = {"filter-crs": f"{epsg}32633"}
    assert found(api, "S_INTERSECTS(geom, BBOX(250000,5500000,450000,5600000))", GRID, **utm) == [0, 1, 2]
    latitude_first = {"filter-crs": f"{epsg}4326"}
    assert found(api, "S_INTERSECTS(geom, BBOX(49.5,11.5,50.5,14.5))", GRID, **latitude_first) == [0, 1, 2]
    assert found(api, "S_INTERSECTS(geom, POINT(1.5 3))", **latitude_first) == [3]
    wide = "S_INTERSECTS(geom, BBOX(-10,49.9,40,50.1))"  # its edge bends over the table's CRS by more than its height
    assert found(api, wide, GRID) == [0, 1, 2, 3, 4, 5]
    for unknown in ("nonsense", f"{epsg}999999", "http://example.org/crs"):
        assert ask(api, GRID, filter=wide, **{"filter-crs": unknown}).status_code == 400


# What was tried on the running system, and more of its kind: each names a function where CQL2 has a value.
FUNCTIONS = [
    "set_config('role','none',false)='none'",
    "set_config(pg_read_file('/etc/passwd',0,60),'x',false)='x'",
    "lo_export(1,'/tmp/x')=1",
    "lo_import('/etc/passwd')=1",
    "lo_from_bytea(0,'x')=1",
    "query_to_xml('select pgstac.delete_item(1)',true,true,'')='x'",
    "database_to_xml(true,true,'')='x'",
    "pg_sleep(5)",
    "pg_sleep(5) IS NULL",
    "dblink('host=127.0.0.1','select 1')='x'",
    "name LIKE pg_read_file('/etc/passwd')",
    "name LIKE casei(pg_read_file('/etc/passwd'))",
    "CASEI(version())='x'",
    "ACCENTI(current_setting('data_directory'))=name",
    "name IN ('a', pg_read_file('/etc/passwd'))",
    "name NOT IN (version())",
    "height BETWEEN pg_sleep(1) AND 3",
    "height BETWEEN 1 AND lo_creat(1)",
    "NOT pg_terminate_backend(1)",
    "NOT (NOT pg_cancel_backend(1))",
    "height + lo_creat(1) = 2",
    "height ^ random() = 2",
    "height DIV pg_backend_pid() = 2",
    "-pg_backend_pid() = 2",
    "height % nextval('a') = 1",
    "pg_ls_dir('/') IS NOT NULL",
    "S_INTERSECTS(geom, ST_GeomFromText(pg_read_file('/etc/passwd')))",
    "S_INTERSECTS(ST_Buffer(geom, 1e9), POINT(1 1))",
    "S_DWITHIN(geom, POINT(1 1), 3)",
    "T_AFTER(seen, now())",
    "T_DURING(seen, INTERVAL(now(), '..'))",
    "T_AFTER(pg_postmaster_start_time(), seen)",
    "A_CONTAINS(tags, (pg_read_file('/etc/passwd')))",
    "A_OVERLAPS(string_to_array(version(), ' '), tags)",
    "flag AND pg_sleep(5)",
    "flag OR (height = 1 AND lo_unlink(1) = 1)",
    '"pg_sleep"(5)',
    "pg_catalog.pg_sleep(5)",
    "pgstac.delete_item('x')",
    "getpgusername()='x'",
    "current_user = 'x'",
    "session_user IS NULL",
    "ctid IS NULL",
    {"op": "pg_sleep", "args": [5]},
    {"op": "pg_read_file", "args": ["/etc/passwd"]},
    {"op": "=", "args": [{"op": "pg_read_file", "args": ["/etc/passwd"]}, "x"]},
    {"op": "=", "args": [{"op": "set_config", "args": ["role", "none", False]}, "none"]},
    {"op": "like", "args": [{"property": "name"}, {"op": "pg_read_file", "args": ["/etc/passwd"]}]},
    {"op": "in", "args": [{"property": "name"}, [{"op": "version", "args": []}]]},
    {"op": "between", "args": [{"property": "height"}, 1, {"op": "lo_creat", "args": [1]}]},
    {"op": "not", "args": [{"op": "pg_sleep", "args": [5]}]},
    {"op": "casei", "args": [{"op": "version", "args": []}]},
    {"op": "s_intersects", "args": [{"property": "geom"}, {"op": "st_setsrid", "args": [DISTANT, 4326]}]},
    {"op": "t_after", "args": [{"property": "seen"}, {"timestamp": {"op": "now", "args": []}}]},
    {"op": "t_during", "args": [{"property": "seen"}, {"interval": [{"op": "now", "args": []}, ".."]}]},
    {"op": "a_contains", "args": [{"property": "tags"}, [{"op": "version", "args": []}]]},
    {"op": "=", "args": [{"function": {"name": "version", "args": []}}, "x"]},
    {"op": "=", "args": [{"property": "name"}, {"function": "version"}]},
    {"op": "ilike", "args": [{"property": "name"}, "x"]},
    {"op": "upper", "args": [{"property": "name"}]},
    {"op": "= 'x' OR pg_sleep(5) IS NULL OR name =", "args": [{"property": "name"}, "x"]},
    {"op": "=", "args": [{"property": "name\" = '' OR pg_sleep(5) IS NULL --"}, "x"]},
    {"op": "=", "args": [{"property": "xmin"}, "1"]},
    {"op": "=", "args": [{"property": "name"}, {"cast": "x"}]},
]


def test_no_function_of_the_database_can_be_called(api: httpx.Client, database: str) -> None:
    """By both encodings, whatever the request calls them, of items as of tiles; and each time a plain one works on."""
    before = ask(api, filter="height < 3").json()
    with open("/etc/passwd") as passwd:
        secret = passwd.readline().strip()
    for number, expression in enumerate(FUNCTIONS):
        text = expression if isinstance(expression, str) else json.dumps(expression)
        for language in (None, "cql2-text", "cql2-json"):
            given = {} if language is None else {"filter-lang": language}
            answers = [ask(api, filter=text, **given)]
            if language is None:
                tile = f"/features/collections/{PLACES}/tiles/WebMercatorQuad/0/0/0"
                answers.append(api.get(tile, params={"filter": text}))
            for answer in answers:
                assert answer.status_code == 400, (text, answer.text)
                assert answer.json()["code"] == "invalid_filter"
                assert secret not in answer.text
                assert "root:" not in answer.text
        after = ask(api, filter="height < 3")
        assert (after.status_code, after.json()["features"]) == (200, before["features"]), (number, text)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (0,)


def test_a_value_is_a_value_whatever_it_holds(api: httpx.Client) -> None:
    """Quotes, backslashes, dollars and braces of texts and names, in items and in tiles; no NUL, no infinity."""
    for value in ("'", "''", "\\", "\\'", "$1", "{}", "{0}", "%s", "%", ";--", "\n", "x" * 5000, "é€𝄞", "/*", "E'\\x'"):
        expression = {"op": "or", "args": [{"op": "=", "args": [{"property": "name"}, value]}, {"property": "flag"}]}
        assert found(api, expression) == [0, 2, 4, 6, 8], value
        tile = api.get(
            f"/features/collections/{PLACES}/tiles/WebMercatorQuad/0/0/0", params={"filter": json.dumps(expression)}
        )
        assert tile.status_code == 200, (value, tile.text)
        assert ask(api, name=value).status_code == 200
        assert ask(api, ids=value).status_code == 404
    for text in (
        '{"op":"=","args":[{"property":"name"},"a\\u0000b"]}',
        '{"op":"=","args":[{"property":"name"},"\\ud800"]}',
        '{"op":"=","args":[{"property":"height"},NaN]}',
        '{"op":"=","args":[{"property":"height"},Infinity]}',
        '{"op":"=","args":[{"property":"height"},1e999]}',
        "height = 1e999",
        "height = NaN",
        "name = 'a\0b'",
        "seen > TIMESTAMP('2020-13-01T00:00:00Z')",
        "seen > TIMESTAMP('infinity')",
        "made > DATE('epoch')",
        "T_AFTER(name, DATE('2020-01-01'))",
        "A_CONTAINS(name, ('x'))",
        "S_INTERSECTS(name, POINT(1 1))",
        "S_INTERSECTS(geom, POINT(1e999 1))",
        "S_INTERSECTS(geom, POLYGON((0 0, 1 1, 1 0)))",
        "height / 0 = 1",
        "height = 'x'",
        "name = 3",
    ):
        answer = ask(api, filter=text)
        assert answer.status_code == 400, (text, answer.text)


@pytest.mark.parametrize(
    "text",
    [
        " AND ".join(["height = 1"] * 400).replace("height", "(height", 1).replace("= 1 AND", "= 1) AND", 1),
        "(" * 400 + "flag" + ")" * 400,
        "(" * 20_000,
        "NOT " * 10_000 + "flag",
        "height = " + "-" * 20_000 + "1",
        "height = " + "1+" * 10_000 + "1",
        "height = " + "1^" * 10_000 + "1",
        "height" + "=height" * 5_000,
        "casei(" * 5_000,
        "a_contains(" * 4_000,
        "GEOMETRYCOLLECTION(" * 3_000,
        "(" * 40 + "height = @" + ")" * 40,
        "height IN (" + "1," * 15_000 + "1)",
        '{"op":"not","args":[' * 800,
        '{"op":"not","args":[' * 60 + "true" + "]}" * 60,
        '{"op":"in","args":[{"property":"height"},' + "[" * 20_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_filter_has_bounds(api: httpx.Client, text: str) -> None:
    answer = ask(api, filter=text)
    if text.startswith("(height = 1) AND"):
        assert answer.status_code == 200, answer.text  # 400 conditions beside each other are no deeper than one
        text = '{"op":"and","args":[true,' * 400 + "true" + "]}" * 400
        answer = ask(api, filter=text)
    assert answer.status_code in (400, 413), answer.text[:300]
    assert answer.elapsed.total_seconds() < 5
    assert found(api, "height = 3") == [3]


def test_what_else_is_asked_of_a_table_is_read_with_care(api: httpx.Client) -> None:
    """The library's own parameters: what is no value of theirs is a 4xx, and nothing of it is SQL."""
    refused: list[dict[str, Any]] = [
        {"bbox": "a,b,c,d"},
        {"bbox": "nan,0,1,1"},
        {"bbox": "1,2"},
        {"datetime": "garbage"},
        {"datetime": "2020-01-01T00:00:00Z/garbage"},
        {"datetime": "../.."},
        {"datetime": ".."},
        {"datetime": "2020-01-02T00:00:00Z/2020-01-01T00:00:00Z"},
        {"datetime-column": "name", "datetime": "2020-01-01T12:00:00Z"},
        {"geom-column": "name"},
        {"sortby": "pg_sleep(5)"},
        {"sortby": 'height" DESC, pg_sleep(5) --'},
        {"sortby": "height\nx"},
        {"sortby": ",", "limit": 1},
        {"simplify": "1;select"},
        {"simplify": "nan"},
        {"simplify": "1e999"},
        {"limit": "1;select"},
        {"limit": "-1"},
        {"offset": "x"},
        {"offset": str(2**70)},
        {"geom": "x"},
        {"height": "x"},
        {"ids": "x"},
        {"ids": "9" * 5000},
        {"crs": "x", "filter": "height ="},
    ]
    for asked in refused:
        answer = ask(api, **asked)
        assert 400 <= answer.status_code < 500, (asked, answer.status_code, answer.text)
    for tile in ("WebMercatorQuad/-1/0/0", "WebMercatorQuad/9999/0/0", "CDB1GlobalGrid/22/0/0"):
        answer = api.get(f"/features/collections/{PLACES}/tiles/{tile}")
        assert 400 <= answer.status_code < 500, (tile, answer.status_code, answer.text)
    assert len(ask(api, user="u4").json()["features"]) == 1
    assert len(ask(api, ids="9007199254740991,9007199254740993").json()["features"]) == 2
    assert ask(api, bbox="170,-10,2,10").json()["numberMatched"] == 3
    assert ask(api, datetime="2020-01-03T00:00:00Z/..").json()["numberMatched"] == 7
    functions = api.get("/features/collections", params={"type": "Function", "f": "json"}).json()
    assert functions["collections"] == []
    for name in ("pg_catalog.pg_ls_dir", "pg_catalog.pg_authid", "public.spatial_ref_sys", "ledger.blob"):
        assert api.get(f"/features/collections/{name}/items").status_code == 404
