"""Dagster's own daemon with queues and stores that do not answer, and an event of a store of a million blobs.

With the product's dagster.yaml and a code server of its own: Dagster cancels a tick after 60 s, and what the tick took.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from tests.event_messages import blob_event
from tests.faults.conftest import OpenWorld
from tests.faults.event_world import EventWorld
from tests.peers.blob_events import BlobChange, make_event
from tests.peers.flaky_proxy import FlakyProxy
from tests.peers.http_proxy import LargeFolder
from tests.pipeline import SOURCE
from tests.rasters import raster_bytes
from tests.unit.core.formats.zarr_files import write_cube
from tests.waiting import wait_until

pytestmark = pytest.mark.soak

PAGES = 240
STARTS_WITHIN_SECONDS = 240
# What is promised is a minute, and half of one beside a large store. Two cores that have other work take many times as
# long to start a run; with the fault nothing ever came.
ITEMS_WITHIN_SECONDS = 400


@contextmanager
def daemon(world: EventWorld) -> Iterator[None]:
    """Dagster's daemon with its code server, once it ticks."""
    process = world.run("dagster._daemon", "run", "-m", "geo_assets.definitions")
    ticks = "SELECT count(*) FROM job_ticks WHERE status <> 'STARTED'"
    try:
        wait_until(
            lambda: world.pipeline.query(ticks)[0][0] > 0 or process.poll() is not None,
            "the sensors tick",
            seconds=STARTS_WITHIN_SECONDS,
        )
        assert process.poll() is None, world.log[-4000:]
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_comes_with_an_event_of_a_large_store_is_searchable_at_once_and_the_store_by_a_listing(
    open_world: OpenWorld, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    world = open_world(["storage_queue"])
    container = str(world.container.container_name)
    fixed = [{"fixed": "2020-01-01T00:00:00Z"}]
    world.pipeline.declare(f"az://{container}", include=["**/*.tif", "**/*.zarr"], datetime=fixed)
    assert world.pipeline.run("list_container").success  # blob_sensor has nothing to list for an hour
    store = write_cube(tmp_path / "cube.zarr", zarr_format=3)
    for path in store.rglob("*"):
        if path.is_file():
            world.container.upload_blob(str(path.relative_to(tmp_path)), path.read_bytes())
    root = make_event(
        BlobChange("created", "cube.zarr/zarr.json"), container=container, account_url=world.azurite.account_url
    )
    with LargeFolder(world.azurite.port, container, "cube.zarr/tas/c/9/9", PAGES * 5000) as proxy:
        world.azurite = replace(world.azurite, port=proxy.port)
        with daemon(world):
            others = [f"{number}.tif" for number in range(5)]
            sent_at = time.monotonic()
            world.send(root, *world.put_silently(*others))
            wait_until(lambda: set(others) <= set(world.pipeline.items()), "five items", seconds=ITEMS_WITHIN_SECONDS)
            took = time.monotonic() - sent_at
            wait_until(lambda: "cube.zarr/zarr.json" in world.pipeline.items(), "the store's item", seconds=600)
            record_property(
                "seconds", f"five items after {took:.1f} s, the store's after {time.monotonic() - sent_at:.1f} s"
            )
    assert world.waiting() == {"storage_queue": 0}
    assert world.pipeline.query("SELECT * FROM ledger.message") == []
    ((left,),) = world.pipeline.query("SELECT sum((dropped->>'left_to_listing')::int) FROM ledger.received_batch")
    assert left == 1


def test_queues_and_a_store_that_do_not_answer_keep_no_other_waiting(
    open_world: OpenWorld, record_property: Callable[[str, object], None]
) -> None:
    world = open_world(["storage_queue"])
    pipeline, azurite = world.pipeline, world.azurite
    assert azurite.queue_port is not None
    names = [f"{world.name[:40]}-{number}" for number in range(3)]
    with (
        FlakyProxy(azurite.queue_port) as queues,
        FlakyProxy(azurite.port) as blobs,
        BlobServiceClient.from_connection_string(azurite.connection_string) as service,
        QueueServiceClient.from_connection_string(azurite.connection_string) as queue_service,
    ):
        queues.containers = {
            "sick-silent": "silent",
            "sick-drip": "drip",
            "sick-head": "drip_head",
            "sick-cut": "reset",
        }
        blobs.containers = {"sick-container": "silent"}
        for sick in queues.containers:
            pipeline.declare_queue(sick, storage_queue=sick)
        pipeline.declare_queue("sick-missing", storage_queue="no-such-queue")
        fixed = [{"fixed": "2020-01-01T00:00:00Z"}]
        for name in names:
            container = service.create_container(name)
            queue_service.create_queue(name)
            pipeline.declare(f"az://{name}", name=name, datetime=fixed)
            pipeline.declare_queue(name, storage_queue=name, sources=[name, "sick-source"])
        pipeline.declare("az://sick-container", name="sick-source", datetime=fixed)
        world.azurite = replace(azurite, port=blobs.port, queue_port=queues.port)
        with daemon(world):
            sent_at = time.monotonic()
            for name in names:
                container = service.get_container_client(name)
                container.upload_blob("a.tif", raster_bytes(value=1))
                queue = queue_service.get_queue_client(name)
                event = blob_event("Created", str(container.url), "a.tif")
                queue.send_message(event.replace(name.encode(), b"sick-container").decode())
                queue.send_message(event.decode())
            for name in names:
                wait_until(
                    lambda: list(pipeline.items(name)) == ["a.tif"],  # noqa: B023 - asked for at once
                    f"the item of {name}",
                    seconds=ITEMS_WITHIN_SECONDS,
                )
            record_property("seconds", f"items of {len(names)} sources after {time.monotonic() - sent_at:.1f} s")
            cursors = pipeline.query("SELECT job_body FROM jobs WHERE job_body LIKE '%troubles%'")
        for sick in [*queues.containers, "sick-missing"]:
            assert any(sick in body for (body,) in cursors), f"{sick} is not named\n{world.log[-4000:]}"
        for name in names:
            service.delete_container(name)
            queue_service.delete_queue(name)
    assert pipeline.query(f"SELECT count(*) FROM ledger.blob WHERE source = '{SOURCE}'") == [(0,)]
