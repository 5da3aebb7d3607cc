"""A source's collection is its own: whatever path or body names it, before its first run too."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from tests.api_server import bearer, served, settings_of, with_keys
from tests.pipeline import Pipeline
from tests.rasters import write_raster

pytestmark = pytest.mark.attack

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "description": "Written through the API",
    "license": "other",
    "links": [],
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}},
}


def collection(collection_id: str, **more: Any) -> dict[str, Any]:
    return {**COLLECTION, "id": collection_id, **more}


def item(item_id: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {},
        **more,
    }


@pytest.fixture(scope="module")
def owners(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A source `ran`, which has run, and a source `declared`, which has not."""
    for name in ("ran", "declared"):
        folder = tmp_path_factory.mktemp(name)
        write_raster(folder / "scene_1.tif")
        module_pipeline.declare(folder.as_uri(), name=name)
    assert module_pipeline.run(source="ran").success
    return module_pipeline


@pytest.fixture(scope="module")
def api(owners: Pipeline) -> Iterator[httpx.Client]:
    """An API on it, for a caller with the scope write, with the collection `mine` that no source has, and its item."""
    settings = settings_of(owners.database_url, owners.sources_path, api_keys=with_keys())
    with served(settings) as client:
        client.headers.update(bearer("write"))
        assert client.post("/stac/collections", json=collection("mine")).status_code == 201
        assert client.post("/stac/collections/mine/items", json=item("own")).status_code == 201
        yield client


def state(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """All that is written in collections and items."""
    return pipeline.query("SELECT id, content::text FROM pgstac.collections ORDER BY id") + pipeline.query(
        "SELECT collection, id, content::text FROM pgstac.items ORDER BY 1, 2"
    )


def set_id(value: Any) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/id", "value": value}]


def attacks(owned: str) -> dict[str, tuple[str, str, Any]]:
    """Each way to name the collection ``owned``."""
    return {
        "post the collection": ("POST", "/stac/collections", collection(owned)),
        "put it": ("PUT", f"/stac/collections/{owned}", collection(owned)),
        "put it by the body": ("PUT", "/stac/collections/mine", collection(owned)),
        "merge its id": ("PATCH", "/stac/collections/mine", {"id": owned}),
        "patch its id": ("PATCH", "/stac/collections/mine", set_id(owned)),
        "post an item": ("POST", f"/stac/collections/{owned}/items", item("x")),
        "post items": (
            "POST",
            f"/stac/collections/{owned}/items",
            {"type": "FeatureCollection", "features": [item("x")]},
        ),
        "post an item by the body": ("POST", "/stac/collections/mine/items", item("x", collection=owned)),
        "post items by the body": (
            "POST",
            "/stac/collections/mine/items",
            {"type": "FeatureCollection", "features": [item("x"), item("y", collection=owned)]},
        ),
        "put an item by the body": ("PUT", "/stac/collections/mine/items/own", item("own", collection=owned)),
        "put an item": ("PUT", f"/stac/collections/{owned}/items/x", item("x")),
        "bulk": ("POST", f"/stac/collections/{owned}/bulk_items", {"items": {"x": item("x")}, "method": "upsert"}),
        "delete it": ("DELETE", f"/stac/collections/{owned}", None),
        "delete an item": ("DELETE", f"/stac/collections/{owned}/items/scene_1", None),
        "in capitals": ("POST", "/stac/collections", collection(owned.upper())),
        "with a space": ("POST", "/stac/collections", collection(f"{owned} ")),
        "in wide letters": ("POST", "/stac/collections", collection("".join(chr(ord(c) + 0xFEE0) for c in owned))),
        "with an invisible letter": ("POST", "/stac/collections", collection(f"{owned[0]}\u200b{owned[1:]}")),
        "percent-encoded": ("PUT", f"/stac/collections/%{ord(owned[0]):x}{owned[1:]}", collection(owned)),
    }


@pytest.mark.parametrize("owned", ["ran", "declared"])
@pytest.mark.parametrize("attack", attacks("x"))
def test_a_collection_of_a_source_is_not_written(api: httpx.Client, owners: Pipeline, attack: str, owned: str) -> None:
    before = state(owners)
    method, path, body = attacks(owned)[attack]
    answer = api.request(method, path, json=body)
    assert answer.status_code in ({400, 409} if "item" in attack and "body" in attack else {409}), answer.text
    assert state(owners) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/stac/collections/mine", collection("another")),
        ("PATCH", "/stac/collections/mine", set_id("another")),
        ("PATCH", "/stac/collections/mine", set_id(5)),
        ("PATCH", "/stac/collections/mine", set_id(["mine"])),
        ("PATCH", "/stac/collections/mine", set_id(None)),
        ("PATCH", "/stac/collections/mine", [{"op": "remove", "path": "/id"}]),
        ("POST", "/stac/collections/mine/items", item("x", collection="another")),
        ("PUT", "/stac/collections/mine/items/own", item("other")),
        ("PATCH", "/stac/collections/mine/items/own", set_id("other")),
        ("PATCH", "/stac/collections/mine/items/own", [{"op": "remove", "path": "/id"}]),
        ("PATCH", "/stac/collections/mine/items/own", [{"op": "replace", "path": "/nowhere/x", "value": 1}]),
        ("PATCH", "/stac/collections/mine", None),
        ("PATCH", "/stac/collections/mine/items/own", None),
    ],
)
def test_a_body_that_names_another_than_the_path_is_refused(
    api: httpx.Client, owners: Pipeline, method: str, path: str, body: Any
) -> None:
    before = state(owners)
    answer = api.request(method, path, json=body)
    assert answer.status_code == 400, answer.text
    assert state(owners) == before


def test_bulk_items_of_another_collection_are_refused_one_by_one(api: httpx.Client, owners: Pipeline) -> None:
    before = state(owners)
    for other in ("ran", "declared", "another"):
        bulk = {"items": {"x": item("x", collection=other)}, "method": "upsert"}
        answer = api.post("/stac/collections/mine/bulk_items", json=bulk)
        assert (answer.json()["success"], len(answer.json()["errors"])) == (0, 1)
    assert state(owners) == before


def test_ones_own_collection_is_written_as_ever_and_each_item_has_its_writer(
    api: httpx.Client, owners: Pipeline
) -> None:
    assert api.post("/stac/collections", json=collection("free")).status_code == 201
    both = {"type": "FeatureCollection", "features": [item("a"), item("b")]}
    assert api.post("/stac/collections/free/items", json=both).status_code == 201
    bulk = {"items": {"c": item("c"), "d": item("d")}, "method": "upsert"}
    assert api.post("/stac/collections/free/bulk_items", json=bulk).status_code == 200
    assert api.put("/stac/collections/free", json=collection("free", title="Free")).status_code == 200
    title = [{"op": "replace", "path": "/title", "value": "Freer"}]
    assert api.patch("/stac/collections/free", json=title).status_code == 200
    moved = [{"op": "add", "path": "/properties/gsd", "value": 3}]
    assert api.patch("/stac/collections/free/items/a", json=moved).status_code == 200
    assert api.delete("/stac/collections/free/items/b").status_code == 200
    assert api.delete("/stac/collections/free").status_code == 200
    written = owners.query(
        "SELECT method, item_id FROM ledger.api_write "
        "WHERE collection_id = 'free' AND written_by = 'writeer' ORDER BY id"
    )
    assert [each for each in written if each[1]] == [
        ("POST", "a"), ("POST", "b"), ("POST", "c"), ("POST", "d"), ("PATCH", "a"), ("DELETE", "b"),
    ]  # fmt: skip


def test_a_source_that_registers_amid_a_write_waits_for_it_and_no_later_write_passes(
    api: httpx.Client, owners: Pipeline, tmp_path: Path
) -> None:
    assert api.post("/stac/collections", json=collection("late")).status_code == 201
    # Declared elsewhere: this server's sources.yaml does not know it, as while a new one is rolled out.
    entry = {"url": tmp_path.as_uri(), "collection": {"id": "late", "description": "Late"}}
    (tmp_path / "sources.yaml").write_text(json.dumps({"sources": {"late": entry}}))
    source = SourcesFile(path=str(tmp_path / "sources.yaml")).get("late")
    with psycopg.connect(owners.database_url) as blocking:
        blocking.execute("SELECT FROM pgstac.collections WHERE id = 'late' FOR UPDATE")
        answers: list[int] = []
        write = threading.Thread(
            target=lambda: answers.append(api.put("/stac/collections/late", json=collection("late")).status_code)
        )
        write.start()
        time.sleep(1)
        database = Database(database_url=owners.database_url)
        register = threading.Thread(target=lambda: database.sources.register(source))
        register.start()
        register.join(timeout=1)
        assert register.is_alive(), "registered amid a write of its collection"
        blocking.rollback()
    write.join(timeout=20)
    register.join(timeout=20)
    assert answers == [200]
    assert api.put("/stac/collections/late", json=collection("late")).status_code == 409
