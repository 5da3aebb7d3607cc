"""The whole loop as a user starts it: a file put into the inbox becomes an item, changes it, and takes it away again.

What `make up EVENTS=1` runs, in a process and a state folder of its own; the seconds each takes are printed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from geo_assets.postgres.databases import embedded_postgres
from geo_assets.settings import Settings
from tests.peers.local_loop import INBOX, LoopPlaces
from tests.rasters import raster_bytes
from tests.services import PROJECT, own_environment
from tests.waiting import wait_until

pytestmark = pytest.mark.soak

STARTS_WITHIN, FOLLOWS_WITHIN = 240, 240
STOPS_WITHIN = 120


@pytest.fixture
def places(tmp_path: Path) -> Iterator[LoopPlaces]:
    """The folders of a loop that was never started."""
    yield LoopPlaces(tmp_path / "state")
    embedded_postgres(Settings(GEO_ASSETS_STATE=tmp_path / "state")).destroy()


def start(places: LoopPlaces, log: Path) -> "subprocess.Popen[bytes]":
    """Start the loop, and wait until Dagster answers."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.local_loop", "--port", "3300"],
            cwd=PROJECT,
            env=own_environment(GEO_ASSETS_STATE=str(places.state)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    is_up = re.compile(r"^Dagster: +http", re.MULTILINE)
    wait_until(
        lambda: process.poll() is not None or bool(is_up.search(log.read_text())), "Dagster", seconds=STARTS_WITHIN
    )
    assert process.poll() is None, log.read_text()
    return process


def found(places: LoopPlaces, item_id: str) -> dict[str, Any] | None:
    """What a search for the item finds."""
    search = json.dumps({"collections": [INBOX], "ids": [item_id]})
    ((answer,),) = query(places, "SELECT search(%s::jsonb)", search)
    features: list[dict[str, Any]] = answer["features"]
    return features[0] if features else None


def query(places: LoopPlaces, statement: LiteralString, *values: str) -> list[tuple[Any, ...]]:
    """The rows of a statement on the loop's catalogue."""
    url = places.read_environment()["GEO_ASSETS_DATABASE_URL"]
    with psycopg.connect(url, options="-c search_path=pgstac,public") as connection:
        return connection.execute(statement, values).fetchall()


def seconds_until(condition: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    wait_until(condition, what, seconds=FOLLOWS_WITHIN)
    return time.monotonic() - began


def left_running(places: LoopPlaces) -> list[str]:
    """The processes that know of the loop's folder, but for the test's own."""
    state = str(places.state).encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes()
            if state in command or state in (process / "environ").read_bytes():
                left.append(command.replace(b"\0", b" ").decode(errors="replace")[:200])
        except OSError:
            continue
    return left


def test_a_file_in_the_inbox_is_an_item_in_seconds_and_the_item_follows_it_until_both_are_gone(
    places: LoopPlaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "loop.log"
    process = start(places, log)
    file, item_id = places.inbox / "scene_20240506.tif", "scene_20240506"
    took: dict[str, list[float]] = {"searchable": [], "changed": [], "gone": []}
    try:
        for _ in range(2):  # the second time nothing is made for the first time
            file.write_bytes(raster_bytes(value=1))
            took["searchable"].append(seconds_until(lambda: found(places, item_id) is not None, "searchable"))
            before = found(places, item_id)
            assert before is not None
            assert before["properties"]["datetime"].startswith("2024-05-06")

            def is_changed(old: str = before["properties"]["geo_assets:etag"]) -> bool:
                now = found(places, item_id)
                return now is not None and now["properties"]["geo_assets:etag"] != old

            file.write_bytes(raster_bytes(value=2, size=32))
            took["changed"].append(seconds_until(is_changed, "changed"))
            changed = found(places, item_id)
            assert changed is not None
            assert changed["properties"]["proj:shape"] == [32, 32]

            file.unlink()
            took["gone"].append(seconds_until(lambda: found(places, item_id) is None, "gone"))
        by_events = query(places, "SELECT coalesce(sum(new + changed + deleted), 0) FROM ledger.received_batch")[0][0]
        assert by_events > 0, "the listing did it all"
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(STOPS_WITHIN)
        with capsys.disabled():
            print("\n" + "\n".join(f"{what}: {[f'{s:.1f} s' for s in each]}" for what, each in took.items()))  # noqa: T201
    assert status == 0, log.read_text()
    assert left_running(places) == []
