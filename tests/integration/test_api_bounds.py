"""What one request may ask to be parsed: refused with its number and limit, and nobody else waits meanwhile."""

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import httpx
import pytest

from geo_assets.api.bounds import MOST_DEPTH, MOST_HEAD_BYTES, QUESTION, WRITE, require_bounded
from geo_assets.api.problems import RequestTooLarge
from tests.api_server import KEYS, bearer, served, settings_of, with_keys
from tests.integration.test_api_ownership import collection, item
from tests.pipeline import Pipeline
from tests.waiting import wait_until

pytestmark = pytest.mark.attack

ITEMS = "/stac/collections/mine/items"


def polygon(vertices: int) -> dict[str, Any]:
    turn = 2 * math.pi / (vertices - 1)
    ring = [[10 * math.cos(turn * n), 10 * math.sin(turn * n)] for n in range(vertices - 1)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.fixture(scope="module")
def api(module_pipeline: Pipeline) -> Iterator[httpx.Client]:
    """An API without sources, for a caller with each scope, with the collection `mine`."""
    module_pipeline.sources_path.write_text("sources: {}")
    settings = settings_of(module_pipeline.database_url, module_pipeline.sources_path, api_keys=with_keys())
    with served(settings) as client:
        client.headers.update(bearer("write"))
        client.timeout = httpx.Timeout(120)
        assert client.post("/stac/collections", json=collection("mine")).status_code == 201
        yield client


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


@cache
def hostile() -> dict[str, tuple[str, str, bytes, str]]:
    """Method, path, body, and what of it is too much."""
    large, many = polygon(200_000), [f"x{n}" for n in range(50_000)]
    feature = {"type": "Feature", "properties": {}, "geometry": large}
    return {
        "a polygon to search": ("POST", "/stac/search", as_json({"intersects": large}), "values"),
        "one just too large": ("POST", "/stac/search", as_json({"intersects": polygon(10_001)}), "vertices"),
        "a filter": (
            "POST",
            "/stac/search",
            as_json({"filter": {"op": "s_intersects", "args": [{"property": "geometry"}, large]}}),
            "values",
        ),
        "ids": ("POST", "/stac/search", as_json({"ids": many}), "ids"),
        "collections": ("POST", "/stac/search", as_json({"collections": many}), "collections"),
        "values": ("POST", "/stac/search", as_json({"query": {"a": {"in": list(range(300_000))}}}), "values"),
        "aggregations": ("POST", "/stac/aggregate", as_json({"intersects": large}), "values"),
        "ids to aggregate": ("POST", "/stac/collections/mine/aggregate", as_json({"ids": many}), "ids"),
        "an item": ("POST", ITEMS, as_json(item("x", geometry=polygon(110_000))), "vertices"),
        "an item of numbers": (
            "PUT",
            f"{ITEMS}/x",
            as_json(item("x", properties={"n": list(range(1_500_000))})),
            "values",
        ),
        "a collection": ("POST", "/stac/collections", as_json(collection("x", n=[[1]] * 200_000)), "vertices"),
        "a mosaic": ("POST", "/raster/searches/register", as_json({"intersects": large}), "values"),
        "statistics": ("POST", "/raster/collections/mine/items/x/statistics", as_json(feature), "values"),
        "a feature": ("POST", "/raster/collections/mine/items/x/feature", as_json(feature), "values"),
        "a job": ("POST", "/api/jobs/submit/hello_world", as_json({"name": many * 2}), "values"),
        "many ids asked for": ("GET", f"/stac/search?ids={'a,' * 15_000}", b"", "parts"),
        "many collections": ("GET", f"/stac/search?collections={'a,' * 2_000}", b"", "parts"),
        "many parameters": ("GET", f"/stac/search?{'a=1&' * 1_100}", b"", "parameters"),
        "deep in a query": ("GET", f"/stac/search?intersects={'[' * 1_000}{']' * 1_000}", b"", "levels"),
    } | {
        f"deep at {method} {path}": (method, path, b'{"properties":{"a":' + nested(1_000) + b"}}", "levels")
        for method, path in [
            ("POST", "/stac/search"),
            ("POST", "/stac/aggregate"),
            ("POST", "/stac/collections"),
            ("PATCH", "/stac/collections/mine"),
            ("POST", ITEMS),
            ("PATCH", f"{ITEMS}/x"),
            ("POST", "/stac/collections/mine/bulk_items"),
            ("POST", "/raster/searches/register"),
            ("POST", "/raster/collections/mine/items/x/statistics"),
            ("POST", "/api/jobs/submit/hello_world"),
            ("POST", "/api/schema/redeploy"),
        ]
    }


@pytest.mark.parametrize("attack", hostile())
def test_a_body_with_too_much_in_it_is_refused_with_its_number_and_the_limit(api: httpx.Client, attack: str) -> None:
    method, path, body, what = hostile()[attack]
    key = "submit" if path.startswith(("/api/jobs", "/raster/searches")) else "write"
    scope = "admin" if "redeploy" in path else key if method != "GET" else "read"
    began = time.monotonic()
    answer = api.request(method, path, content=body, headers={"content-type": "application/json", **bearer(scope)})
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large"), answer.text[:300]
    assert what in answer.json()["detail"]
    assert time.monotonic() - began < 5


def test_nobody_waits_for_bodies_that_are_as_large_as_they_may_be(api: httpx.Client) -> None:
    search = as_json({"intersects": polygon(9_900)})
    feature = as_json({"type": "Feature", "properties": {}, "geometry": polygon(9_900)})
    large = as_json(
        {"type": "FeatureCollection", "features": [item(f"i{n}", geometry=polygon(300)) for n in range(90)]}
    )
    refused = as_json({"intersects": polygon(300_000)})
    sent = [
        ("/stac/search", search),
        ("/stac/search", refused),
        (ITEMS, large),
        ("/stac/aggregate", search),
        ("/raster/collections/mine/items/x/statistics", feature),
        ("/stac/search", as_json({"ids": [f"x{n}" for n in range(9_900)]})),
        ("/stac/search", as_json({"limit": 10_000})),
    ]

    def send(request: tuple[str, bytes]) -> int:
        return api.post(request[0], content=request[1], headers={"content-type": "application/json"}).status_code

    assert {send(request) for request in sent} <= {200, 201, 404, 413}  # routes are built when they are first asked
    # A round in which other processes had the processors says nothing of the server: one of three must be quick.
    rounds: list[list[float]] = []
    while not rounds or (max(rounds[-1]) >= 0.5 and len(rounds) < 3):
        with asked_meanwhile(api) as waited, ThreadPoolExecutor(4) as senders:
            assert set(senders.map(send, sent)) <= {200, 201, 404, 409, 413}
        rounds.append(waited)
    assert max(rounds[-1]) < 0.5
    assert len(rounds[-1]) > 10


ENDLESS_HEADERS = b"".join(b"x%d: y\r\n" % number for number in range(10_000))
CHUNKED = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begun", "without_end"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", ENDLESS_HEADERS),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nx: ", b"y" * 100_000),
        (b"GET /livez?", b"y" * 100_000),
        (CHUNKED + b"1;", b"y" * 100_000),
        (CHUNKED + b"0\r\n", ENDLESS_HEADERS),
    ],
    ids=["headers", "a header", "an address", "a chunk", "trailers"],
)
def test_what_comes_without_end_and_is_no_body_is_cut_off(api: httpx.Client, begun: bytes, without_end: bytes) -> None:
    """Of a caller without a key: it would fill the memory before anybody asks who sends it."""
    with connected(api) as caller:
        caller.sendall(begun)
        assert fed_until_cut_off(caller, without_end) < 32 * MOST_HEAD_BYTES
    assert api.get("/livez").status_code == 200


def fed_until_cut_off(caller: socket.socket, part: bytes) -> int:
    """How many bytes are taken in until the connection ends, of not much more than what must not be."""
    for sent in range(0, 40 * MOST_HEAD_BYTES, len(part)):
        try:
            caller.sendall(part)
        except OSError:
            return sent
    return 40 * MOST_HEAD_BYTES


def test_who_sends_no_request_is_not_waited_for(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geo_assets.api.bounds.SECONDS_OF_HEAD", 0.5)
    with ExitStack() as connections:
        silent, slow, served = [connections.enter_context(connected(api)) for _ in range(3)]
        slow.sendall(b"GET /livez HT")
        served.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert served.recv(1000).startswith(b"HTTP/1.1 200 ")
        served.sendall(b"GET /li")
        for caller in (silent, slow, served):
            while caller.recv(1000):
                pass  # until the server closes the connection


def test_bodies_that_do_not_come_to_an_end_leave_room_for_others(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geo_assets.api.bounds.MOST_WAITING_BYTES", 1_000_000)
    head = f"POST /stac/search HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEYS['read']}\r\nContent-Length: 2000000\r\n\r\n"
    with ExitStack() as unfinished:

        def is_full() -> bool:
            unfinished.enter_context(connected(api)).sendall(head.encode() + b" " * 900_000)
            return answer_to_large(api) == 503

        wait_until(is_full, "when there is no room for large bodies")
        assert api.post("/stac/search", json={}).status_code == 200
        monkeypatch.setattr("geo_assets.api.bounds.SECONDS_OF_SENDING", 0.5)
        late = unfinished.enter_context(connected(api))
        late.sendall(head.encode())
        assert late.recv(1000).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: answer_to_large(api) == 200, "when there is room again")


def test_what_was_half_sent_is_not_taken_for_whole(api: httpx.Client) -> None:
    body = as_json(collection("half"))
    head = f"POST /stac/collections HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEYS['write']}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    with connected(api) as caller:
        caller.sendall(head.encode() + body)
    time.sleep(0.5)
    assert api.get("/stac/collections/half").status_code == 404


@pytest.mark.parametrize("content_type", ["", "application/json", "application/geo+json", "text/plain", "x"])
def test_a_search_that_is_no_object_is_the_callers_fault(api: httpx.Client, content_type: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    for body in (b"", b"  ", b" " * 40_000, b"null", b"[]", b"1", b'"a"', b"a=1", b"\xff\xfe"):
        assert api.post("/stac/search", content=body, headers=headers).status_code == 400, body
    expected = 200 if "json" in content_type else 400
    for body in (b"{}", b" { } "):
        assert api.post("/stac/search", content=body, headers=headers).status_code == expected


def answer_to_large(api: httpx.Client) -> int:
    """The status of the answer to a search with a large body."""
    body, headers = b"{" + b" " * 200_000 + b"}", {"content-type": "application/json"}
    return api.post("/stac/search", content=body, headers=headers).status_code


@contextmanager
def connected(api: httpx.Client) -> Iterator[socket.socket]:
    """A connection to the API."""
    with socket.create_connection((api.base_url.host, api.base_url.port or 80), timeout=20) as caller:
        yield caller


@contextmanager
def asked_meanwhile(api: httpx.Client) -> Iterator[list[float]]:
    """The seconds that /livez took each time while the block ran."""
    ended, waited = threading.Event(), [0.0]

    def ask() -> None:
        with httpx.Client(base_url=api.base_url, timeout=30) as client:
            while not ended.is_set():
                began = time.perf_counter()
                assert client.get("/livez").status_code == 200
                waited.append(time.perf_counter() - began)
                time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield waited
    finally:
        ended.set()
        asking.join()


@pytest.mark.parametrize(
    "body",
    [
        as_json({"title": "[" * 300}),
        as_json({"title": '\\"[' * 200, "b": '"' * 300}),
        as_json({"title": "\\" * 301, "b": ["["] * 150}),
        b'{"a":' + nested(MOST_DEPTH - 2) + b"}",
        as_json([[]] * 500),
        as_json({"intersects": polygon(QUESTION.vertices - 10)}),
        b"]" * 500,
        b"",
    ],
)
def test_what_is_in_strings_is_not_counted_as_levels(body: bytes) -> None:
    require_bounded(body, QUESTION)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\\\",' + b'"b":' + nested(MOST_DEPTH + 1) + b"}",
        b'{"a":"]]]]]]]]]]]]]]","b":' + nested(MOST_DEPTH + 10) + b"}",
        b'{"a":' * 150 + b"1" + b"}" * 150,
        b"[" * 50_000,
    ],
)
def test_no_string_hides_levels(body: bytes) -> None:
    with pytest.raises(RequestTooLarge, match=r"levels|vertices|values"):
        require_bounded(body, WRITE)


def test_a_heavy_request_is_answered_as_any_other(api: httpx.Client) -> None:
    heavy, light = {"intersects": polygon(2_000), "limit": 1}, {"limit": 1}
    found = [api.post("/stac/search", json=each) for each in (heavy, light)]
    assert [each.status_code for each in found] == [200, 200]
    assert found[0].headers["content-type"] == found[1].headers["content-type"]
    assert [link["href"] for link in found[0].json()["links"] if link["rel"] == "root"] == [
        link["href"] for link in found[1].json()["links"] if link["rel"] == "root"
    ]
    assert found[0].headers["x-correlation-id"]
    wrong = api.post("/stac/search", json={**heavy, "intersects": {"type": "Polygon", "coordinates": [[[0]] * 9_000]}})
    assert wrong.status_code == 400
    assert len(wrong.content) < 20_000, "an answer a hundred times the question"
    big = api.post(ITEMS, json=item("big", properties={"datetime": "2020-01-01T00:00:00Z", "note": "x" * 50_000}))
    assert big.status_code == 201
    assert api.delete(f"{ITEMS}/big").status_code == 200
