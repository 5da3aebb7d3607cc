"""Searches by fifty callers at once: /stac behind its gate, against stac-fastapi-pgstac bare on the same database."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
import psycopg
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from benchmarks.result import BenchmarkFailed, Result, at_most
from benchmarks.world import Context, Pipeline, interleaved
from tests.services import PROJECT, free_port

NAMES = ("api_search",)
CALLERS = 50
COLLECTION = "searched"
FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = 3 * 365
READY_SECONDS = 60
BARE = ("-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory", "--no-access-log", "--log-level", "warning")
OURS = (str(Path(sys.executable).parent / "geo-assets"), "serve")


def run(context: Context) -> list[Result]:
    """The 95th percentile of a search's time in milliseconds, over that of the bare server, taken in turns."""
    items = context.size(100_000, quick=5_000)
    searches = _searches(context.size(600, quick=300))
    with context.pipeline("az://unused") as pipeline, ExitStack() as stack:
        began = time.perf_counter()
        load_items(pipeline.databases.owner_url, items)
        context.say(f"loaded {items:,} items in {time.perf_counter() - began:.0f} s")
        ours = stack.enter_context(_server(pipeline, OURS, path="/stac"))
        bare = stack.enter_context(_server(pipeline, BARE, path=""))
        for address in (ours, bare):
            asyncio.run(_latencies(address, searches))  # connections, plans and pages are warm
        own, peer = interleaved(
            context.size(7, quick=2),
            lambda: _p95(asyncio.run(_latencies(ours, searches))),
            lambda: _p95(asyncio.run(_latencies(bare, searches))),
        )
    return [Result(NAMES[0], own / peer, "ratio of p95 in ms", at_most(1.1), ours=own, peer=peer)]


def load_items(database_url: str, count: int) -> None:
    """Small squares all over the globe, an asset each, spread over three years."""
    loader = Loader(PgstacDB(dsn=database_url))
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    collection = {"id": COLLECTION, "type": "Collection", "stac_version": "1.1.0", "license": "other", "links": []}
    loader.load_collections(iter([{**collection, "description": "Items to search", "extent": extent}]), Methods.insert)
    loader.load_items((_item(number) for number in range(count)), Methods.insert)
    with psycopg.connect(database_url, autocommit=True) as connection:  # else the autovacuum does it amid the searches
        connection.execute("VACUUM (ANALYZE)")


def _item(number: int) -> dict[str, Any]:
    chance = random.Random(number)
    west, south = chance.uniform(-179, 178), chance.uniform(-80, 79)
    east, north = west + 0.5, south + 0.5
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    moment = FIRST_DAY + timedelta(days=chance.uniform(0, DAYS))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"item-{number:06d}",
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": moment.isoformat().replace("+00:00", "Z"), "eo:cloud_cover": chance.randint(0, 100)},
        "links": [],
        "assets": {"data": {"href": f"https://example.org/{number}.tif", "type": "image/tiff; application=geotiff"}},
    }


def _searches(count: int) -> list[dict[str, Any]]:
    """What people ask: a box, a month of a box, some ids, little cloud in a year; ten items each."""
    chance = random.Random(1)
    searches: list[dict[str, Any]] = []
    for number in range(count):
        west, south = chance.uniform(-179, 150), chance.uniform(-80, 60)
        start = FIRST_DAY + timedelta(days=chance.uniform(0, DAYS - 31))
        month = f"{start:%Y-%m-%dT00:00:00Z}/{start + timedelta(days=30):%Y-%m-%dT00:00:00Z}"
        kinds: tuple[dict[str, Any], ...] = (
            {"bbox": [west, south, west + 10, south + 10]},
            {"bbox": [west, south, west + 20, south + 20], "datetime": month},
            {"ids": [f"item-{chance.randrange(5_000):06d}" for _ in range(5)]},
            {"filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 10]}, "filter-lang": "cql2-json"},
        )
        searches.append({"collections": [COLLECTION], "limit": 10, **kinds[number % len(kinds)]})
    return searches


@contextmanager
def _server(pipeline: Pipeline, arguments: tuple[str, ...], *, path: str) -> Iterator[str]:
    """A server in a process of its own, with one worker and a pool of twelve; its address."""
    port = free_port()
    log = pipeline.folder / f"server-{port}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *arguments, "--host", "127.0.0.1", "--port", str(port)],
            cwd=PROJECT,
            env=pipeline.environment(GEO_ASSETS_API_REQUESTS_A_MINUTE="10000000", **_postgres(pipeline)),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}{path}"
        _wait_for(f"{address}/search?limit=1", process, log)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _postgres(pipeline: Pipeline) -> Mapping[str, str]:
    """The catalogue as stac-fastapi-pgstac is told of it."""
    url = urlsplit(pipeline.databases.owner_url)
    return {
        "PGHOST": str(url.hostname),
        "PGPORT": str(url.port),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": url.path.lstrip("/"),
        "DB_MAX_CONN_SIZE": "12",
    }


def _wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise BenchmarkFailed(f"{address} does not answer: {log.read_text('utf-8', 'replace')[-1000:]}")


async def _latencies(address: str, searches: list[dict[str, Any]]) -> list[float]:
    """Seconds of each search, by so many callers at once, each with its next as soon as it has its answer."""
    waiting = iter(searches)
    taken: list[float] = []

    async def call() -> None:
        # A client each: a shared pool makes callers wait, and closes connections amid a search.
        async with httpx.AsyncClient(timeout=60, verify=False) as client:
            for search in waiting:
                began = time.perf_counter()
                answer = await client.post(f"{address}/search", json=search)
                taken.append(time.perf_counter() - began)
                if answer.status_code != 200 or "features" not in answer.json():
                    raise BenchmarkFailed(f"a search was answered with {answer.status_code}: {answer.text[:300]}")

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return taken


def _p95(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 95)) * 1000
