"""/stac as its clients read it: pystac-client walks, searches and pages, odc-stac and GDAL load pixels.

Here: what each finds, against what is known to be there. Not here: the letter of the specification
(`test_api_conformance`), vector layers (`test_api_features`).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import odc.stac
import pystac_client
import pystac_client.warnings
import pytest
import rasterio
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from tests.api_server import served, settings_of
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster

Item = dict[str, Any]
COUNT = 10_000
START = datetime(2020, 1, 1, tzinfo=UTC)


def moment(number: int) -> datetime:
    """When the item of this number is of: ten share a moment, so that paging cannot go by the moment alone."""
    return START + timedelta(hours=number // 10)


def longitude(number: int) -> float:
    """Where it lies, from west to east."""
    return float(number % 100)


def latitude(number: int) -> float:
    """Where it lies, from south to north."""
    return number // 100 / 2


def grid_item(number: int) -> Item:
    """One of ten thousand items on a grid."""
    x, y = longitude(number), latitude(number)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": f"item_{number:05d}",
        "collection": "grid",
        "geometry": {"type": "Point", "coordinates": [x, y]},
        "bbox": [x, y, x, y],
        "links": [],
        "assets": {},
        "properties": {
            "datetime": moment(number).isoformat(),
            "number": number,
            "platform": f"sat_{'abc'[number % 3]}",
            **({"title": "A frozen lake", "description": "Ice"} if number % 1000 == 7 else {}),
        },
    }


GRID = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "grid",
    "title": "Lakes on a grid",
    "description": "Ten thousand points",
    "keywords": ["lake"],
    "license": "other",
    "links": [],
    "extent": {"spatial": {"bbox": [[0, 0, 99, 49.5]]}, "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}},
}


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one raster, each of whose pixels is another."""
    path = write_raster(tmp_path_factory.mktemp("clients") / "in" / "gradient.tif", dtype="int16", nodata=-1)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.arange(256, dtype="int16").reshape(16, 16), 1)
    return path.parent


@pytest.fixture(scope="module")
def api(module_pipeline: Pipeline, blobs: Path) -> Iterator[httpx.Client]:
    """The API on the item of the raster, and on the ten thousand."""
    url = module_pipeline.database_url
    module_pipeline.declare(blobs.as_uri())
    assert module_pipeline.run().success
    module_pipeline.database.catalogue.upsert_collection(GRID)
    database = PgstacDB(dsn=url)
    Loader(database).load_items((grid_item(number) for number in range(COUNT)), Methods.insert)
    database.disconnect()
    database.close()
    with served(settings_of(url, module_pipeline.sources_path, api_requests_a_minute=1_000_000)) as client:
        yield client


@pytest.fixture(scope="module")
def catalog(api: httpx.Client) -> Iterator[pystac_client.Client]:
    """pystac-client on the API, which warns of nothing that is missing: that would be an error."""
    with pystac_client.warnings.strict():
        yield pystac_client.Client.open(f"{api.base_url}/stac/")


def numbers(search: pystac_client.ItemSearch) -> list[int]:
    """The numbers of the items of the grid that a search finds, in its order."""
    return [int(item["id"].removeprefix("item_")) for item in search.items_as_dicts()]


def test_pystac_client_walks_from_the_catalog_to_each_item(catalog: pystac_client.Client, api: httpx.Client) -> None:
    collections = {collection.id: collection for collection in catalog.get_collections()}
    assert collections.keys() == {SOURCE, "grid"}
    (item,) = collections[SOURCE].get_items()
    assert item.id == "gradient"
    assert item.get_self_href() == f"{api.base_url}/stac/collections/{SOURCE}/items/gradient"
    again = catalog.get_collection(SOURCE).get_item("gradient")
    assert again is not None
    assert (again.properties, again.get_self_href()) == (item.properties, item.get_self_href())
    assert item.get_root() is catalog
    picture = item.get_single_link("preview")
    assert picture is not None
    assert httpx.get(picture.href).content.startswith(b"\x89PNG")


def test_ten_thousand_items_are_paged_through_and_none_is_lost_or_doubled(catalog: pystac_client.Client) -> None:
    pages = list(catalog.search(collections=["grid"], limit=777).pages_as_dicts())
    assert len(pages) == -(-COUNT // 777)
    found = [item["id"] for page in pages for item in page["features"]]
    assert len(found) == COUNT
    assert set(found) == {f"item_{number:05d}" for number in range(COUNT)}


def test_pages_of_items_alike_lose_none_either(catalog: pystac_client.Client) -> None:
    """A third of the items have the same platform: by it alone no page would end where the next begins."""
    asked = {"collections": ["grid"], "sortby": "properties.platform", "fields": ["id", "-links"]}
    found = numbers(catalog.search(method="GET", limit=1999, **asked))
    assert len(found) == COUNT
    assert set(found) == set(range(COUNT))


def test_the_pages_of_a_collection_are_walked_by_their_links(api: httpx.Client) -> None:
    found: list[str] = []
    address: str | None = (
        f"{api.base_url}/stac/collections/grid/items?limit=300&datetime=2020-01-01T00:00:00Z/2020-01-05T03:00:00Z"
    )
    while address:
        page = httpx.get(address, timeout=60).json()
        found += [item["id"] for item in page["features"]]
        address = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert sorted(found) == [f"item_{number:05d}" for number in range(1000)]


Predicate = Callable[[int], bool]
SEARCHES: dict[str, tuple[dict[str, Any], Predicate]] = {
    "bbox": ({"bbox": [10, 10, 12, 11]}, lambda n: 10 <= longitude(n) <= 12 and 10 <= latitude(n) <= 11),
    "intersects": (
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [9.5, 0], [0, 9.5], [0, 0]]]}},
        lambda n: longitude(n) + latitude(n) <= 9.5,
    ),
    "datetime": (
        {"datetime": "2020-01-02T00:00:00Z/2020-01-02T12:00:00Z"},
        lambda n: START + timedelta(hours=24) <= moment(n) <= START + timedelta(hours=36),
    ),
    "datetime, open": (
        {"datetime": "2021-02-20T00:00:00Z/.."},
        lambda n: moment(n) >= datetime(2021, 2, 20, tzinfo=UTC),
    ),
    "ids": ({"ids": ["item_00003", "item_09999", "none"]}, lambda n: n in (3, 9999)),
    "query": (
        {"query": {"number": {"gte": 20, "lt": 40}, "platform": {"eq": "sat_a"}}},
        lambda n: n in range(20, 40) and n % 3 == 0,
    ),
    "query, words": (
        {"query": {"title": {"startsWith": "A fro", "endsWith": "lake", "contains": "zen l"}}},
        lambda n: n % 1000 == 7,
    ),
    "query, no wildcards": ({"query": {"platform": {"contains": "%"}}}, lambda _: False),
    "query, in": (
        {"query": {"platform": {"in": ["sat_b", "sat_d"]}, "number": {"lt": 100}}},
        lambda n: n < 100 and n % 3 == 1,
    ),
    "CQL2 text": (
        {"method": "GET", "filter": "number BETWEEN 5 AND 9 OR (platform LIKE 'sat\\_b' AND number > 9990)"},
        lambda n: 5 <= n <= 9 or (n % 3 == 1 and n > 9990),
    ),
    "CQL2 text in space and time": (
        {
            "method": "GET",
            "filter": "S_INTERSECTS(geometry, POLYGON((0 0, 5.5 0, 5.5 5.5, 0 5.5, 0 0)))"
            " AND datetime >= TIMESTAMP('2020-02-01T00:00:00Z')",
        },
        lambda n: longitude(n) <= 5.5 and latitude(n) <= 5.5 and moment(n) >= datetime(2020, 2, 1, tzinfo=UTC),
    ),
    "CQL2 JSON": (
        {
            "filter": {
                "op": "and",
                "args": [
                    {"op": "in", "args": [{"property": "platform"}, ["sat_a", "sat_c"]]},
                    {"op": "not", "args": [{"op": ">", "args": [{"property": "number"}, 50]}]},
                ],
            }
        },
        lambda n: n % 3 != 1 and n <= 50,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_finds_what_it_asks_for_and_nothing_else(catalog: pystac_client.Client, name: str) -> None:
    asked, wanted = SEARCHES[name]
    found = numbers(catalog.search(collections=["grid"], limit=500, **asked))
    assert sorted(found) == [number for number in range(COUNT) if wanted(number)]


def test_items_come_in_the_order_and_with_the_fields_that_are_asked_for(catalog: pystac_client.Client) -> None:
    downwards = catalog.search(collections=["grid"], sortby="-id", limit=40, max_items=100)
    assert numbers(downwards) == list(range(COUNT - 1, COUNT - 101, -1))
    upwards = catalog.search(collections=["grid"], sortby=["properties.platform", "-id"], limit=40, max_items=100)
    assert numbers(upwards) == list(range(COUNT - 1, COUNT - 301, -3))
    (item,) = catalog.search(ids=["item_00004"], fields=["properties.number", "-geometry"]).items_as_dicts()
    assert item["properties"] == {"number": 4}
    assert not {"geometry", "assets", "bbox"} & item.keys()


def test_a_search_with_fields_is_answered_as_geojson_too(api: httpx.Client) -> None:
    for answer in (
        api.get("/stac/search?fields=id&limit=1"),
        api.post("/stac/search", json={"fields": {"include": ["id"]}, "limit": 1}),
        api.get("/stac/collections/grid/items?fields=id&limit=1"),
    ):
        assert answer.headers["content-type"] == "application/geo+json"
        assert len(answer.json()["features"]) == 1


def test_free_text_finds_collections_and_items(catalog: pystac_client.Client, api: httpx.Client) -> None:
    assert [each.id for each in catalog.collection_search(q="lake").collections()] == ["grid"]
    assert [each.id for each in catalog.collection_search(q="ocean").collections()] == []
    near = catalog.collection_search(bbox=[20, 20, 21, 21], datetime="2020-06-01/2020-06-02")
    assert [each.id for each in near.collections()] == ["grid"]
    expected = {f"item_{number:05d}" for number in range(7, COUNT, 1000)}
    for answer in (
        api.get("/stac/search", params={"q": "frozen", "limit": 100}),
        api.post("/stac/search", json={"q": ["frozen"], "limit": 100}),
        api.get("/stac/collections/grid/items", params={"q": "frozen,desert", "limit": 100}),
    ):
        assert {item["id"] for item in answer.json()["features"]} == expected


def test_a_filter_that_cannot_be_is_refused_and_breaks_nothing(api: httpx.Client) -> None:
    refused: list[dict[str, Any]] = [
        {"filter": {"op": "no such operator", "args": []}},
        {"query": {"number": {"startsWith": 1}}},
        {"query": {"number": {"isLike": 1}}},
        {"bbox": [1, 2, 3]},
        {"datetime": "yesterday"},
        {"sortby": [{"field": "a'; DROP TABLE pgstac.items", "direction": "asc"}]},
        {"limit": 1, "token": "next:nothing:there"},
    ]
    for each in refused:
        answer = api.post("/stac/search", json={"collections": ["grid"], "limit": 1, **each})
        assert answer.status_code < 500, (each, answer.text)
    for text in (
        "no such =",
        "absent = ",
        "S_INTERSECTS(geometry, POLYGON((0 0)))",
        "number LIKE 1",
        "datetime > 'x'",
    ):
        answer = api.get("/stac/search", params={"filter": text, "limit": 1})
        assert 400 <= answer.status_code < 500, (text, answer.text)
    assert api.post("/stac/search", json={"limit": 1}).status_code == 200


def test_an_item_is_written_replaced_changed_and_deleted(api: httpx.Client) -> None:
    api.post("/stac/collections", json={**GRID, "id": "mine"}).raise_for_status()
    place = "/stac/collections/mine/items"
    item = {**grid_item(1), "collection": "mine"}
    posted = api.post(place, json=item)
    assert posted.status_code == 201
    assert api.post(place, json=item).status_code == 409
    replaced = api.put(f"{place}/item_00001", json={**item, "properties": {"datetime": "2021-01-01T00:00:00Z", "a": 1}})
    assert replaced.status_code == 200
    assert api.patch(f"{place}/item_00001", json={"properties": {"b": 2}}).status_code == 200
    there = api.get(f"{place}/item_00001").json()["properties"]
    assert (there["a"], there["b"], there.get("number")) == (1, 2, None)
    many = {"items": {f"bulk_{n}": {**item, "id": f"bulk_{n}"} for n in range(20)}, "method": "upsert"}
    assert api.post("/stac/collections/mine/bulk_items", json=many).status_code == 200
    assert len(api.get(place, params={"limit": 100}).json()["features"]) == 21
    assert api.delete(f"{place}/item_00001").status_code == 200
    assert api.get(f"{place}/item_00001").status_code == 404
    assert api.delete("/stac/collections/mine").status_code == 200
    assert api.get("/stac/collections/mine").status_code == 404


def test_odc_stac_loads_the_pixels_of_an_item_it_found(catalog: pystac_client.Client, blobs: Path) -> None:
    loaded = odc.stac.load(catalog.search(collections=[SOURCE]).items())
    (band,) = loaded.data_vars.values()
    np.testing.assert_array_equal(band.isel(time=0).values, np.arange(256, dtype="int16").reshape(16, 16))


def test_gdal_reads_the_pixels_of_a_search_as_a_mosaic(api: httpx.Client, blobs: Path) -> None:
    """QGIS adds a STAC layer by this driver."""
    address = f'STACIT:"{api.base_url}/stac/search?collections={SOURCE}":asset=data'
    with rasterio.open(address) as mosaic, rasterio.open(blobs / "gradient.tif") as dataset:
        assert (mosaic.crs, mosaic.bounds) == (dataset.crs, dataset.bounds)
        np.testing.assert_array_equal(mosaic.read(1), dataset.read(1))
