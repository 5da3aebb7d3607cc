"""Events that come late, doubled, reversed, through several paths, or to two daemons: the container decides."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest

from geo_assets.events import storage_queue
from geo_assets.models import Channel
from tests.faults.conftest import OpenWorld
from tests.faults.event_world import EventWorld
from tests.faults.fault_record import fault
from tests.faults.ticking import ticking
from tests.peers.blob_events import Event

GROUP = "delivery"
PATHS: tuple[Channel, ...] = ("storage_queue", "service_bus")
KEPT, OVERWRITTEN, GONE, BACK = (
    [f"{what}/2024{1 + number:02d}01_.tif" for number in range(4)] for what in ("kept", "overwritten", "gone", "back")
)


def changes(world: EventWorld) -> list[Event]:
    """What happened, in order: creations, new versions, deletions, and a return after a deletion."""
    events = world.put_silently(*KEPT, *OVERWRITTEN, *GONE, *BACK)
    events += world.put_silently(*OVERWRITTEN)
    events += world.delete_silently(*GONE, *BACK)
    return events + world.put_silently(*BACK)


ORDERS: dict[str, Callable[[list[Event]], list[Event]]] = {
    "each three times": lambda events: events * 3,
    "reversed": lambda events: events[::-1],
    "deletions before creations": lambda events: sorted(events, key=lambda event: "Created" in event["eventType"]),
    "the last of each alone": lambda events: list({event["subject"]: event for event in events}.values()),
}


@pytest.mark.parametrize(
    "order", [pytest.param(order, marks=[] if order == "reversed" else [pytest.mark.soak]) for order in ORDERS]
)
@pytest.mark.parametrize("path", ["storage_queue", pytest.param("service_bus", marks=pytest.mark.soak)])
def test_any_order_ends_as_the_container_is(open_world: OpenWorld, path: Channel, order: str) -> None:
    world = open_world([path])
    with ticking(world) as loop, fault(GROUP, f"{order} ({path.replace('_', ' ')})") as run:
        world.send(*ORDERS[order](changes(world)))
        run.over()
        loop.converge()
        run.judged(world.judge(), blobs=len(world.blobs))


def test_a_blob_that_events_told_of_wrongly_is_as_the_container_has_it(open_world: OpenWorld) -> None:
    world = open_world(["storage_queue"])
    with ticking(world) as loop, fault(GROUP, "deletions reported of what is there, creations of what is gone") as run:
        events = changes(world)
        untrue = [{**event, "eventType": "Microsoft.Storage.BlobDeleted"} for event in events if "kept" in str(event)]
        untrue += [event for event in events if "gone" in event["subject"] and "Created" in event["eventType"]]
        world.send(*events, *untrue)
        run.over()
        loop.converge()
        run.judged(world.judge(), blobs=len(world.blobs))


def test_all_three_paths_see_the_same_blobs_at_once(open_world: OpenWorld) -> None:
    world = open_world(PATHS)
    sensors = ["storage_queue_sensor", "blob_sensor", "service_bus_sensor"]
    with ticking(world, sensors=sensors) as loop, fault(GROUP, "the same blobs through all three paths") as run:
        world.send(*changes(world))
        run.over()
        loop.converge()
        run.judged(world.judge(), blobs=len(world.blobs))


def test_work_that_takes_longer_than_messages_are_ours_is_done_again(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = open_world(["storage_queue"])
    with ticking(world) as loop, fault(GROUP, "work outlasts the visibility timeout (storage queue)") as run:
        monkeypatch.setattr(storage_queue, "VISIBILITY", timedelta(seconds=1))
        world.send(*changes(world) * 8)
        run.over()
        loop.converge()
        run.judged(world.judge(), blobs=len(world.blobs))


LOST = [
    *(pytest.param(each, marks=pytest.mark.soak) for each in ("lost_settle_acks", "lost_settlements")),
    "doubled_messages",
    "lost_locks",
]


@pytest.mark.parametrize("lost", LOST)
def test_what_is_lost_on_the_way_costs_a_second_delivery_alone(open_world: OpenWorld, lost: str) -> None:
    """A sender that hears nothing sends again: a lost send-ack is a doubled message."""
    world = open_world(["service_bus"])
    assert world.peer is not None
    with ticking(world) as loop, fault(GROUP, f"{lost.replace('_', ' ')} (service bus)") as run:
        setattr(world.peer.faults, lost, 5)
        world.send(*changes(world))
        run.over()
        loop.converge()
        run.judged(world.judge(), blobs=len(world.blobs))


@pytest.mark.soak
@pytest.mark.parametrize("path", PATHS)
def test_two_daemons_by_mistake(open_world: OpenWorld, path: Channel) -> None:
    world = open_world([path])
    world.happen()
    with fault(GROUP, f"two daemons at once ({path.replace('_', ' ')})") as run:
        daemons = [world.start("--forever", "--hidden", "4"), world.start("--forever", "--hidden", "4")]
        try:
            world.wait_until_quiet(daemons)
        finally:
            for daemon in daemons:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()
        run.judged(world.judge(), blobs=len(world.blobs))
