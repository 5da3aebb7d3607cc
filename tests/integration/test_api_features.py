"""/features on tables that load_vectors made: as OGC API Features, as vector tiles, and as GDAL reads them.

Here: what is served against what is in the table, and when it comes and goes. Not here: how tables are made
(`test_vector_tables`).
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyogrio
import pytest

from geo_assets.api.features import DATA, HTML, LOOK_SECONDS
from tests.api_server import served, settings_of
from tests.pipeline import Pipeline, failure_text
from tests.vectors import POINTS, write_vector
from tests.waiting import wait_until

SOURCE = "vectors"
WELLS = "vectors.wells"


@pytest.fixture(scope="module")
def tables(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Twenty points on a line from 0 E 0 N to 19 E 9.5 N, as the table vectors.wells."""
    return with_wells(module_pipeline, tmp_path_factory.mktemp("wells"))


@pytest.fixture(scope="module")
def api(tables: Pipeline) -> Iterator[httpx.Client]:
    """The API on that table."""
    with served(settings_of(tables.database_url, tables.sources_path)) as client:
        yield client


@pytest.fixture
def own_tables(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    """The same in a database of this test's own, to change it."""
    return with_wells(pipeline, tmp_path)


@pytest.fixture
def own_api(own_tables: Pipeline) -> Iterator[httpx.Client]:
    """The API on that."""
    with served(settings_of(own_tables.database_url, own_tables.sources_path)) as client:
        yield client


def with_wells(pipeline: Pipeline, folder: Path) -> Pipeline:
    """The pipeline, with the table."""
    names = [f"well {number}" for number in range(20)]
    fields: dict[str, list[Any]] = {"number": list(range(20)), "name": names}
    write_vector(folder / "in" / "wells.gpkg", list(POINTS), driver="GPKG", fields=fields)
    pipeline.declare((folder / "in").as_uri(), name=SOURCE, tables={})
    load(pipeline)
    return pipeline


def load(pipeline: Pipeline) -> None:
    """Run load_vectors, which is to succeed."""
    result = pipeline.run("load_vectors", source=SOURCE)
    assert result.success, failure_text(result)


def layers(api: httpx.Client) -> set[str]:
    """The ids of the collections of /features."""
    return {each["id"] for each in api.get("/features/collections?f=json").json()["collections"]}


def numbers(api: httpx.Client, **asked: Any) -> list[int]:
    """The numbers of the wells that the API finds."""
    answer = api.get(f"/features/collections/{WELLS}/items", params={"f": "geojson", "limit": 100, **asked})
    assert answer.status_code == 200, answer.text
    return [feature["properties"]["number"] for feature in answer.json()["features"]]


def test_a_client_finds_its_way_from_the_landing_page_to_each_feature(api: httpx.Client) -> None:
    """As QGIS does: landing page, conformance, collections, then items page by page."""
    landing = api.get("/features/", headers={"Accept": "application/json"}).json()
    hrefs = {link["rel"]: link["href"] for link in reversed(landing["links"])}  # the first of each
    conformance = api.get(hrefs["conformance"]).json()["conformsTo"]
    assert "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core" in conformance
    assert api.get(hrefs["service-desc"]).json()["openapi"].startswith("3.")
    (layer,) = api.get(hrefs["data"]).json()["collections"]
    assert layer["id"] == WELLS
    assert layer["extent"]["spatial"]["bbox"] == [[0.0, 0.0, 19.0, 9.5]]
    address: str | None = next(link["href"] for link in layer["links"] if link["rel"] == "items") + "?limit=6"
    pages = 0
    found: list[dict[str, Any]] = []
    while address:
        page = api.get(address).json()
        pages, found = pages + 1, found + page["features"]
        assert page["numberMatched"] == 20
        address = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert pages == 4
    assert [each["properties"]["number"] for each in found] == list(range(20))
    assert [each["geometry"]["coordinates"] for each in found] == [[n, n / 2] for n in range(20)]
    assert {each["properties"]["name"] for each in found} == {f"well {number}" for number in range(20)}


def test_features_are_chosen_by_box_by_property_and_by_cql2(api: httpx.Client) -> None:
    assert numbers(api, bbox="3.5,0,7.5,3") == [4, 5, 6]
    assert numbers(api, number="7") == [7]
    assert numbers(api, filter="number BETWEEN 3 AND 5 OR name = 'well 19'", **{"filter-lang": "cql2-text"}) == [
        3,
        4,
        5,
        19,
    ]
    assert numbers(api, filter="S_INTERSECTS(geom, POLYGON((0 0, 2.5 0, 2.5 5, 0 5, 0 0)))") == [0, 1, 2]
    assert numbers(api, sortby="-number", limit=3) == [19, 18, 17]
    for wrong in (
        {"filter": "no such ="},
        {"filter": '{"op": 1}'},
        {"filter": "absent = 1"},
        {"bbox": "1,2"},
        {"sortby": "absent"},
    ):
        answer = api.get(f"/features/collections/{WELLS}/items", params=wrong)
        assert 400 <= answer.status_code < 500, (wrong, answer.text)
    assert api.get("/features/collections/ledger.blob/items").status_code == 404
    assert api.get("/features/collections/pgstac.items/items").status_code == 404


def test_a_page_ends_by_its_size_and_leads_on(own_api: httpx.Client, own_tables: Pipeline) -> None:
    """Of 400 outlines of 2,001 positions each feature is there once, and no answer is larger than its form may be."""
    own_tables.execute("ALTER TABLE vectors.wells ALTER geom TYPE geometry(Geometry, 4326)")
    own_tables.execute(
        "INSERT INTO vectors.wells (fid, number, name, geom) SELECT 100 + n, 100 + n, 'outline', "
        "ST_Buffer(ST_Point(n / 100.0, 0, 4326), 5, 500) FROM generate_series(1, 400) n"
    )
    place = f"/features/collections/{WELLS}/items"
    seen: list[int] = []
    sizes = []
    address: str | None = f"{place}?limit=1000"
    while address is not None:
        answer = own_api.get(address)
        page = answer.json()
        seen += [feature["properties"]["number"] for feature in page["features"]]
        sizes.append(len(answer.content))
        address = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == [*range(20), *range(101, 501)]
    assert len(sizes) > 1
    assert max(sizes) < 1.1 * DATA.page
    shown = own_api.get(f"{place}?limit=1000&f=html")
    assert shown.status_code == 200
    assert len(shown.content) < 1.5 * HTML.page
    for form in ("csv", "json", "ndjson", "geojsonseq"):
        refused = own_api.get(f"{place}?limit=1000&f={form}")
        assert (refused.status_code, refused.json()["code"]) == (413, "request_too_large")
        most = re.search(r"limit=(\d+)", refused.json()["remedy"])
        assert most is not None
        assert own_api.get(f"{place}?limit={most[1]}&f={form}").status_code == 200
    assert own_api.get(f"{place}?limit=1000&f=csv&geom-column=none").text.count("\n") == 421


def test_a_feature_that_no_page_can_hold_is_refused(own_api: httpx.Client, own_tables: Pipeline) -> None:
    own_tables.execute("UPDATE vectors.wells SET name = repeat('x', 70000000) WHERE number = 3")
    refused = own_api.get(f"/features/collections/{WELLS}/items?number=3")
    assert (refused.status_code, refused.json()["code"]) == (413, "request_too_large")
    assert own_api.get(f"/features/collections/{WELLS}/items?number=3&properties=number").status_code == 200


def test_a_vector_tile_holds_the_features_that_lie_in_it(api: httpx.Client, tmp_path: Path) -> None:
    tilejson = api.get(f"/features/collections/{WELLS}/tiles/WebMercatorQuad/tilejson.json").json()
    address = tilejson["tiles"][0].format(z=3, x=4, y=3)  # from 0 to 45 E, from 0 to 41 N
    tile = api.get(address)
    assert tile.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    path = tmp_path / "tile.pbf"
    path.write_bytes(tile.content)
    decoded = pyogrio.raw.read(f"MVT:{path}", layer="default", columns=["number"])
    numbers_found = sorted(decoded[3][0].tolist())
    # Those that are on the tile's edge are in its margin too.
    assert set(range(1, 20)) <= set(numbers_found) <= set(range(20))
    nowhere = api.get(tilejson["tiles"][0].format(z=3, x=0, y=7))
    assert nowhere.status_code in (200, 204)
    assert nowhere.content == b""


# By itself: pyogrio keeps Python's lock while GDAL waits for the answer, which this process is to give.
READ_BY_GDAL = """
import json, sys, pyogrio, shapely
address, layer = sys.argv[1:]
info = pyogrio.read_info(address, layer=layer, force_feature_count=True, force_total_bounds=True)
_, _, geometries, columns = pyogrio.raw.read(address, layer=layer, columns=["number"])
points = shapely.get_coordinates(shapely.from_wkb(geometries)).tolist()
print(json.dumps({
    "layers": pyogrio.list_layers(address)[:, 0].tolist(),
    "count": info["features"],
    "bounds": info["total_bounds"],
    "features": dict(zip(columns[0].tolist(), points)),
}))
"""


def test_gdal_reads_the_layer_that_is_in_the_table(api: httpx.Client, tables: Pipeline) -> None:
    command = [sys.executable, "-c", READ_BY_GDAL, f"OAPIF:{api.base_url}/features", WELLS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    extent = "ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e)"
    ((count, *bounds),) = tables.query(
        f"SELECT n, {extent} FROM (SELECT count(*) AS n, ST_Extent(geom) AS e FROM {WELLS}) AS t"
    )
    assert (read["layers"], read["count"], read["bounds"]) == ([WELLS], count, bounds)
    assert read["features"] == {str(number): [point.x, point.y] for number, point in enumerate(POINTS)}


def test_an_item_leads_to_its_features_and_tiles(api: httpx.Client) -> None:
    (item,) = api.get(f"/stac/collections/{SOURCE}/items").json()["features"]
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert api.get(links["items"]).json()["numberMatched"] == 20
    assert api.get(links["tilejson"]).json()["tiles"]


def test_tables_come_and_go_without_a_restart(own_api: httpx.Client, own_tables: Pipeline, tmp_path: Path) -> None:
    assert layers(own_api) == {WELLS}
    write_vector(tmp_path / "in" / "springs.gpkg", list(POINTS[:3]), driver="GPKG")
    load(own_tables)
    wait_until(
        lambda: layers(own_api) == {WELLS, "vectors.springs"}, "when the new table is listed", seconds=2 * LOOK_SECONDS
    )
    assert len(numbers(own_api)) == 20
    fields: dict[str, list[Any]] = {"number": list(range(5)), "name": ["x"] * 5}
    write_vector(tmp_path / "in" / "wells.gpkg", list(POINTS[:5]), driver="GPKG", fields=fields)
    load(own_tables)
    assert numbers(own_api) == [0, 1, 2, 3, 4]
    (tmp_path / "in" / "springs.gpkg").unlink()
    own_tables.declare(
        (tmp_path / "in").as_uri(), name=SOURCE, tables={}, deletions={"grace": "0 days", "max_share": 1}
    )
    load(own_tables)
    wait_until(lambda: layers(own_api) == {WELLS}, "when the table is gone", seconds=2 * LOOK_SECONDS)
    assert own_api.get("/features/collections/vectors.springs/items").status_code == 404
