"""Any sequence of changes, events, losses, duplicates, ticks and kills ends as the container is, items included."""

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.faults.conftest import OpenWorld
from tests.faults.event_world import HIDDEN_SECONDS, EventWorld
from tests.faults.fault_record import fault
from tests.faults.killing import Moment
from tests.faults.test_kills_of_events import ELSEWHERE, OF_A_QUEUE, QUEUES
from tests.faults.test_kills_of_runs import TOLD
from tests.faults.ticking import Ticking, ticking
from tests.peers.blob_events import Event

GROUP = "random sequences"
NAMES = st.sampled_from([f"m/2024{month:02d}01_.tif" for month in range(1, 7)])
MOMENTS = [
    *(Moment(when, f"{QUEUES['storage_queue']}.{call}") for when, call, _ in OF_A_QUEUE.values()),
    *(Moment(*moment) for moment in ELSEWHERE.values()),
    *(Moment(moment.when, moment.function) for moment in TOLD.values()),
]


class AllOfIt(RuleBasedStateMachine):
    """One world whose events are on their way until they are delivered, perhaps twice, or lost.

    The world goes on from example to example, so nothing that is drawn depends on what it holds: hypothesis forbids it.
    """

    def __init__(self, world: EventWorld, loop: Ticking, *, has_kills: bool) -> None:
        super().__init__()
        self.world, self.loop, self.has_kills = world, loop, has_kills
        self.on_the_way: list[Event] = []
        self.is_lost = False

    @initialize(names=st.lists(NAMES, unique=True, max_size=4))
    def begin(self, names: list[str]) -> None:
        self.on_the_way += self.world.put_silently(*names)

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        self.on_the_way += self.world.put_silently(name)

    @rule(name=NAMES, bad=st.just(b"no raster at all"))
    def put_what_is_no_raster(self, name: str, bad: bytes) -> None:
        self.on_the_way += self.world.put_silently(name, content=bad)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.world.blobs:
            self.on_the_way += self.world.delete_silently(name)

    @rule(order=st.integers(0, 999), most=st.integers(1, 4), is_kept=st.booleans())
    def deliver(self, order: int, most: int, is_kept: bool) -> None:
        """In any order, and again later where they are kept."""
        events = Random(order).sample(self.on_the_way, min(most, len(self.on_the_way)))
        if events:
            self.world.send(*events)
        if not is_kept:
            self.on_the_way = [event for event in self.on_the_way if event not in events]

    @rule()
    def lose(self) -> None:
        if self.on_the_way:
            self.on_the_way.pop()
            self.is_lost = True

    @rule()
    def tick(self) -> None:
        self.loop.turn()

    @precondition(lambda self: self.has_kills)
    @rule(moment=st.sampled_from(MOMENTS))
    def crash(self, moment: Moment) -> None:
        """A daemon that is killed where it comes to the moment in one turn."""
        self.world.start("--hidden", str(HIDDEN_SECONDS), moment=moment).wait(timeout=120)

    def teardown(self) -> None:
        """What was not lost arrives, a listing repairs the rest, and all is as the container has it."""
        if self.on_the_way:
            self.world.send(*self.on_the_way)
        with fault(GROUP, "create, overwrite, delete, event, duplicate, loss, kill") as run:
            self.loop.converge()
            if self.is_lost:
                self.loop.list_all()
                self.loop.converge()
            run.judged(self.world.judge(), blobs=len(self.world.blobs))


@pytest.mark.parametrize(
    ("examples", "steps", "has_kills"),
    [(2, 6, False), pytest.param(25, 15, True, marks=pytest.mark.soak)],
    ids=["some", "many"],
)
def test_any_sequence_ends_as_the_container_is(
    open_world: OpenWorld, examples: int, steps: int, *, has_kills: bool
) -> None:
    world = open_world(["storage_queue"])
    with ticking(world) as loop:
        machine: Any = lambda: AllOfIt(world, loop, has_kills=has_kills)  # noqa: E731
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
