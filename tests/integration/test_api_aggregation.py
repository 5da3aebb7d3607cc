"""/stac/aggregate counts what /stac/search finds.

Here: each aggregation, against counts of the items themselves. Not here: the search (`test_api_clients`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from geo_assets.api.catalogue_search import AGGREGATIONS
from geo_assets.settings import Settings
from tests.api_server import served, settings_of

Item = dict[str, Any]
COUNT = 60
START = datetime(2020, 1, 1, tzinfo=UTC)
ALL = ",".join(AGGREGATIONS)


def item(number: int) -> Item:
    """One of sixty: in two collections, three weeks apart, cloudy in all ways and in none."""
    x, y = float(number), float(number % 7)
    cloud: tuple[object, ...] = (number, 100, 0, 9.99, None, "much", -1)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"item-{number:02d}",
        "collection": "even" if number % 2 == 0 else "odd",
        "geometry": {"type": "Point", "coordinates": [x, y]},
        "bbox": [x, y, x, y],
        "links": [],
        "assets": {},
        "properties": {
            "datetime": (START + timedelta(weeks=3 * number)).isoformat(),
            "platform": f"sat's {'ab'[number % 2]}",
            "eo:cloud_cover": cloud[number % len(cloud)],
        },
    }


ITEMS = [item(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def api(module_catalogue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API on the sixty items."""
    sources: Path = tmp_path_factory.mktemp("aggregation") / "sources.yaml"
    sources.write_text("sources: {}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        loader = Loader(PgstacDB(dsn=module_catalogue))
        extent = {"spatial": {"bbox": [[0, 0, 60, 7]]}, "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}}
        loader.load_collections(
            iter(
                {"type": "Collection", "stac_version": "1.1.0", "id": name, "description": name, "license": "other"}
                | {"links": [], "extent": extent}
                for name in ("even", "odd", "empty")
            ),
            Methods.insert,
        )
        loader.load_items(iter(ITEMS), Methods.insert)
        with served(settings_of(module_catalogue, sources)) as client:
            yield client


def aggregated(answer: httpx.Response) -> dict[str, Any]:
    """What was answered: by name, a value, or the frequencies by key."""
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["type"] == "AggregationCollection"
    return {
        each["name"]: each["value"]
        if "value" in each
        else {bucket["key"]: bucket["frequency"] for bucket in each["buckets"]}
        for each in found["aggregations"]
    }


def test_all_that_can_be_asked_for_is_linked_and_listed(api: httpx.Client) -> None:
    for place in ("/stac/", "/stac/collections/odd"):
        links = {link["rel"]: link["href"] for link in api.get(place).json()["links"]}
        listed = api.get(links["aggregations"]).json()["aggregations"]
        assert {each["name"]: each["data_type"] for each in listed} == AGGREGATIONS
        assert api.get(links["aggregate"]).json()["aggregations"] == [], "only what is asked for by name"
    conforms = api.get("/stac/conformance").json()["conformsTo"]
    assert {name for name in conforms if "/aggregation" in name} == {
        f"https://api.stacspec.org/v0.3.0/aggregation{part}" for part in ("", "#query", "#filter")
    }


def test_each_counts_what_is_there(api: httpx.Client) -> None:
    found = aggregated(api.get("/stac/aggregate", params={"aggregations": ALL}))
    assert found["total_count"] == COUNT
    assert found["datetime_min"] == "2020-01-01T00:00:00Z"
    assert found["datetime_max"] == (START + timedelta(weeks=3 * (COUNT - 1))).isoformat().replace("+00:00", "Z")
    assert found["collection_frequency"] == {"even": 30, "odd": 30}
    months = Counter(f"{each['properties']['datetime'][:7]}-01T00:00:00Z" for each in ITEMS)
    assert found["datetime_frequency"] == months
    clouds = Counter(_tenth(each["properties"]["eo:cloud_cover"]) for each in ITEMS)
    assert found["cloud_cover_frequency"] == {key: count for key, count in clouds.items() if key is not None}
    (cloudy,) = api.get("/stac/aggregate", params={"aggregations": "cloud_cover_frequency"}).json()["aggregations"]
    assert cloudy["overflow"] == clouds[None]


@pytest.mark.parametrize(("days", "interval"), [(2, "hour"), (60, "day"), (3000, "month")])
def test_the_interval_suits_the_span(api: httpx.Client, days: int, interval: str) -> None:
    asked = {"datetime": f"{START:%Y-%m-%dT%H:%M:%SZ}/{START + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"}
    answer = api.get("/stac/aggregate", params={**asked, "aggregations": "datetime_frequency"})
    assert answer.json()["aggregations"][0]["data_type"] == f"interval_{interval}"


SEARCHES: list[tuple[Item, Callable[[Item], bool]]] = [
    ({"collections": ["odd"]}, lambda each: each["collection"] == "odd"),
    ({"ids": ["item-07", "item-08", "item-99"]}, lambda each: each["id"] in {"item-07", "item-08"}),
    ({"bbox": [10, 2, 20, 4]}, lambda each: 10 <= each["bbox"][0] <= 20 and 2 <= each["bbox"][1] <= 4),
    ({"datetime": "2021-01-01T00:00:00Z/.."}, lambda each: each["properties"]["datetime"] >= "2021"),
    ({"filter": {"op": "=", "args": [{"property": "platform"}, "sat's a"]}}, lambda each: each["collection"] == "even"),
    ({"query": {"platform": {"endsWith": "b"}}}, lambda each: each["collection"] == "odd"),
    ({"collections": ["empty"]}, lambda _: False),
]


@pytest.mark.parametrize(("search", "meant"), SEARCHES, ids=[str(search) for search, _ in SEARCHES])
def test_a_search_is_counted_as_it_is_found(api: httpx.Client, search: Item, meant: Callable[[Item], bool]) -> None:
    ids = {each["id"] for each in ITEMS if meant(each)}
    assert {each["id"] for each in api.post("/stac/search", json={**search, "limit": 100}).json()["features"]} == ids
    posted = api.post("/stac/aggregate", json={**search, "aggregations": ["total_count", "collection_frequency"]})
    frequencies = Counter(each["collection"] for each in ITEMS if meant(each))
    assert aggregated(posted) == {"total_count": len(ids), "collection_frequency": frequencies}
    own = api.post("/stac/collections/even/aggregate", json={**search, "aggregations": ["total_count"]})
    if "collections" not in search:
        assert aggregated(own)["total_count"] == frequencies["even"]


def test_words_of_cql2_are_taken_in_an_address(api: httpx.Client) -> None:
    asked = {"aggregations": "total_count", "filter": "platform = 'sat''s a' AND id > 'item-20'"}
    meant = [each for each in ITEMS if each["collection"] == "even" and each["id"] > "item-20"]
    assert aggregated(api.get("/stac/aggregate", params=asked)) == {"total_count": len(meant)}
    query = '{"platform": {"endsWith": "b"}}'
    assert aggregated(api.get("/stac/aggregate", params={"aggregations": "total_count", "query": query})) == {
        "total_count": 30
    }


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/stac/aggregate", {"aggregations": "nonsense"}, 400),
        ("/stac/aggregate", {"aggregations": "total_count", "filter": "platform ="}, 400),
        ("/stac/aggregate", {"aggregations": "total_count", "query": "no json"}, 400),
        ("/stac/aggregate", {"aggregations": "total_count", "bbox": "1,2,3"}, 400),
        ("/stac/collections/missing/aggregate", {"aggregations": "total_count"}, 404),
        ("/stac/collections/missing/aggregations", {}, 404),
    ],
)
def test_a_mistake_is_named(api: httpx.Client, path: str, asked: dict[str, str], status: int) -> None:
    assert api.get(path, params=asked).status_code == status


@pytest.mark.parametrize("name", ["collections", "ids"])
def test_a_quote_is_no_way_into_the_statement(api: httpx.Client, name: str) -> None:
    asked = {name: ["'; SELECT pg_sleep(5); --", "') OR TRUE OR ('"], "aggregations": ["total_count"]}
    assert aggregated(api.post("/stac/aggregate", json=asked)) == {"total_count": 0}


def _tenth(cloud: object) -> str | None:
    if not isinstance(cloud, int | float) or not 0 <= cloud <= 100:
        return None
    start = min(int(cloud) // 10, 9) * 10
    return f"{start}-{start + 10}"
