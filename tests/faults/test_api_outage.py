"""The database goes and comes back under load: the API says when to try again, and recovers by itself."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from geo_assets.postgres.databases import CATALOGUE_DATABASE
from geo_assets.postgres.embedded import EmbeddedPostgres
from tests.api_server import served, settings_of
from tests.pipeline import SOURCE, migrate_as_owner, open_pipeline
from tests.rasters import write_raster
from tests.waiting import wait_until

PATHS = (
    "/stac/search?limit=5",
    f"/stac/collections/{SOURCE}/items?limit=5",
    "/api/db/stats",
    f"/raster/collections/{SOURCE}/items/scene-0/info?assets=data",
    "/features/collections",
    "/readyz",
)
CALLERS = 8
WAY_TOO_LONG_SECONDS = 25


@dataclass
class Load:
    """Callers that ask one path after another until they are told to stop, and all that they were answered."""

    client: httpx.Client
    answers: list[tuple[float, str, httpx.Response]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, while_it_runs: Callable[[], None]) -> None:
        """Call from several threads for as long as the function takes."""
        with ThreadPoolExecutor(CALLERS) as callers:
            for number in range(CALLERS):
                callers.submit(self._call, number)
            try:
                while_it_runs()
            finally:
                self._stop.set()

    def statuses_since(self, moment: float) -> dict[str, set[int]]:
        """What each path was answered to requests that were sent after the moment."""
        seen: dict[str, set[int]] = {}
        for sent, path, answer in list(self.answers):
            if sent > moment:
                seen.setdefault(path, set()).add(answer.status_code)
        return seen

    def _call(self, number: int) -> None:
        while not self._stop.is_set():
            path = PATHS[number % len(PATHS)]
            number += 1
            sent = time.monotonic()
            try:
                self.answers.append((sent, path, self.client.get(path, timeout=WAY_TOO_LONG_SECONDS)))
            except httpx.HTTPError as error:
                self.lost.append(f"{path}: {error!r}")
            time.sleep(0.02)


def test_a_database_that_restarts_under_load_is_503_with_retry_after_and_then_all_is_well(tmp_path: Path) -> None:
    cluster = EmbeddedPostgres(tmp_path / "state", durable=False)
    for number in range(3):
        write_raster(tmp_path / "container" / f"scene-{number}.tif", value=number)
    try:
        cluster.start()
        cluster.ensure_databases(CATALOGUE_DATABASE)
        url = cluster.url(CATALOGUE_DATABASE)
        migrate_as_owner(url)
        with open_pipeline(url, tmp_path) as pipeline:
            pipeline.declare((tmp_path / "container").as_uri())
            assert pipeline.run().success
            with served(settings_of(url, pipeline.sources_path)) as client:
                load = Load(client)
                load.run(lambda: _restart(cluster, load))
    finally:
        cluster.destroy()
    assert load.lost == [], "every request is answered, and in time"
    refused = [(path, answer) for _, path, answer in load.answers if answer.status_code != 200]
    others = {(path, answer.status_code, answer.text[:400]) for path, answer in refused if answer.status_code != 503}
    assert others == set()
    assert {path for path, _ in refused} == set(PATHS), "there was an outage for each"
    for _, answer in refused:
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["x-correlation-id"]


def _restart(cluster: EmbeddedPostgres, load: Load) -> None:
    every = {path: {200} for path in PATHS}
    wait_until(lambda: load.statuses_since(0) == every, "each path to be served")
    cluster.stop()
    gone = time.monotonic()
    wait_until(lambda: load.statuses_since(gone).keys() == every.keys(), "each path to be answered", seconds=60)
    cluster.start()
    back = time.monotonic()
    wait_until(lambda: 200 in load.statuses_since(back).get(PATHS[0], set()), "the API to serve again", seconds=30)
    well = time.monotonic() + 5
    wait_until(lambda: time.monotonic() > well and load.statuses_since(well).keys() == every.keys(), "some time more")
    assert load.statuses_since(well) == every, "and it stays so"
