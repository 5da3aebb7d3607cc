"""kill -9 between a message's arrival and its acknowledgement, and around a tick's cursor and its run request.

By either kind of queue where the path matters. In a quick part one moment of each kind of queue.
"""

import pytest

from geo_assets.models import Channel
from tests.faults.conftest import OpenWorld
from tests.faults.fault_record import fault
from tests.faults.killing import Moment

GROUP = "kill -9 while events are received"
QUEUES = {
    "storage_queue": "geo_assets.events.storage_queue:StorageQueue",
    "service_bus": "geo_assets.events.service_bus:ServiceBusQueue",
}
SETTLE_ONE = {
    "storage_queue": "azure.storage.queue:QueueClient.delete_message",
    "service_bus": "azure.servicebus:ServiceBusReceiver.complete_message",
}
PATHS: tuple[Channel, ...] = ("storage_queue", "service_bus")
RECORD = "geo_assets.ledger.events:write_batch"
TICK = "dagster._daemon.sensor"

# By what people call them: the call in the queue of a path, or elsewhere.
OF_A_QUEUE = {
    "after receive": ("after", "receive", 1),
    "after the ledger's commit, before any acknowledgement": ("before", "complete", 1),
    "after the acknowledgements": ("after", "complete", 1),
    "before a dead letter is sent": ("before", "dead_letter", 1),
    "after a dead letter was sent, before that is recorded": ("after", "dead_letter", 1),
}
ELSEWHERE = {
    "before the ledger's commit, all written": ("after", RECORD, 1),
    "before the cursor is saved": ("before", f"{TICK}:SensorLaunchContext.set_run_requests", 1),
    "after the cursor is saved, before the run": ("after", f"{TICK}:SensorLaunchContext.set_run_requests", 1),
    "during the run request, the run made but not queued": ("after", f"{TICK}:_create_sensor_run", 1),
    "after the run request": ("after", f"{TICK}:_submit_run_request", 1),
}
AMID = (2, 30, 61)  # of the first 100 messages, how many are acknowledged
POISON_SENT = "after poison send, before delete"

QUICK = ("after the ledger's commit, before any acknowledgement", "storage_queue")


def moments() -> list[tuple[str, Channel, Moment]]:
    """All moments by each path."""
    found = []
    for path in PATHS:
        queue = QUEUES[path]
        found += [(name, path, Moment(w, f"{queue}.{call}", n)) for name, (w, call, n) in OF_A_QUEUE.items()]
        found += [(name, path, Moment(*moment)) for name, moment in ELSEWHERE.items()]
        found += [("during the acknowledgements", path, Moment("after", SETTLE_ONE[path], number)) for number in AMID]
    # Service Bus does both as one.
    return [*found, (POISON_SENT, "storage_queue", Moment("after", "azure.storage.queue:QueueClient.send_message", 1))]


def parameters() -> list[object]:
    """One for `make test`, all others for `make soak`."""
    return [
        pytest.param(
            name,
            path,
            moment,
            id=f"{name}, {path}, {moment.number}",
            marks=[] if (name, path) == QUICK else [pytest.mark.soak],
        )
        for name, path, moment in moments()
    ]


@pytest.mark.parametrize(("name", "path", "moment"), parameters())
def test_a_daemon_killed_while_it_takes_events_in_loses_none(
    open_world: OpenWorld, name: str, path: Channel, moment: Moment
) -> None:
    world = open_world([path])
    world.happen()
    with fault(GROUP, f"{name} ({path.replace('_', ' ')})") as run:
        world.kill_at(moment)
        run.over()
        world.converge()
        run.judged(world.judge(), blobs=len(world.blobs))
