"""How a step that was sent to Celery is watched: when it counts as lost, and what then happens."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery.states import FAILURE, PENDING, STARTED, SUCCESS

from geo_assets.celery.executor import (
    CHECK_SECONDS,
    MOST_SENDS,
    VISIBILITY_SECONDS,
    WatchedStep,
    WorkerLost,
    app_arguments,
)
from geo_assets.errors import DatabaseUnavailable, InvalidConfiguration
from geo_assets.settings import Settings


@dataclass
class FakeResult:
    """What Celery knows of a task."""

    id: str
    state: str = PENDING
    result: Any = None
    revoked: bool = False

    def get(self) -> Any:
        return self.result

    def revoke(self) -> None:
        self.revoked = True


@dataclass
class World:
    """A clock, the tasks that were sent, who holds a lock, and how many messages wait."""

    now: float = 0.0
    tasks: list[FakeResult] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)
    queued: int = 0
    reports: list[str] = field(default_factory=list)
    database_is_away: bool = False

    def __post_init__(self) -> None:
        self.step = WatchedStep(
            self.send,
            has_worker=self.has_worker,
            queued=lambda: self.queued,
            report=self.reports.append,
            now=lambda: self.now,
        )

    @property
    def task(self) -> FakeResult:
        return self.tasks[-1]

    def send(self) -> FakeResult:
        self.tasks.append(FakeResult(f"task {len(self.tasks) + 1}"))
        return self.task

    def has_worker(self, task_id: str) -> bool:
        if self.database_is_away:
            raise DatabaseUnavailable("away")
        return task_id in self.workers

    def check(self, times: int = 1) -> bool:
        """Ask whether the step is ready, each time after so long that it is looked at."""
        for _ in range(times):
            self.now += CHECK_SECONDS
            ready = self.step.ready()
        return ready


def test_a_step_that_ends_is_ready_and_gives_its_events() -> None:
    world = World()
    assert not world.step.ready()
    world.task.state, world.task.result = SUCCESS, ["event"]
    assert world.step.ready()
    assert world.step.get() == ["event"]
    assert world.reports == []


def test_a_started_step_whose_worker_lives_is_left_alone_for_ever() -> None:
    world = World()
    world.task.state = STARTED
    world.workers = {"task 1"}
    assert not world.check(1000)
    assert len(world.tasks) == 1


def test_a_started_step_without_a_worker_is_sent_again_at_the_second_look() -> None:
    world = World()
    world.task.state = STARTED
    assert not world.check()
    assert len(world.tasks) == 1
    assert not world.check()
    assert len(world.tasks) == 2
    assert world.reports == ["The worker that had started on the step is gone: it is sent again."]
    world.task.state, world.task.result = SUCCESS, []
    assert world.step.ready()


def test_a_worker_seen_in_between_is_no_lost_worker() -> None:
    world = World()
    world.task.state = STARTED
    world.check()
    world.workers = {"task 1"}
    world.check()
    world.workers = set()
    world.check()
    assert len(world.tasks) == 1


def test_it_looks_at_intervals_however_often_it_is_asked() -> None:
    world = World()
    world.task.state = STARTED
    world.now += CHECK_SECONDS
    for _ in range(10):
        world.step.ready()
    assert len(world.tasks) == 1


def test_a_step_whose_process_celery_saw_die_is_sent_again_at_once() -> None:
    world = World()
    world.task.state, world.task.result = FAILURE, WorkerLostError("signal 9")
    assert not world.step.ready()
    assert len(world.tasks) == 2


def test_a_step_that_takes_every_worker_down_is_given_up() -> None:
    world = World()
    for _ in range(MOST_SENDS):
        world.task.state = STARTED
        world.check(2)
    assert len(world.tasks) == MOST_SENDS
    assert world.step.ready()
    with pytest.raises(WorkerLost, match="sent 3 times"):
        world.step.get()


def test_a_failure_of_the_step_itself_is_passed_on() -> None:
    world = World()
    world.task.state, world.task.result = FAILURE, ValueError("wrong")
    assert world.step.ready()
    assert len(world.tasks) == 1


def test_a_database_that_is_away_says_nothing_about_workers() -> None:
    world = World()
    world.task.state = STARTED
    world.database_is_away = True
    world.check(100)
    assert len(world.tasks) == 1


def test_a_step_that_waits_in_the_queue_is_left_there_for_ever() -> None:
    world = World(queued=1)
    world.check(1000)
    assert len(world.tasks) == 1


def test_a_step_that_the_broker_has_lost_is_sent_again() -> None:
    world = World(queued=0)
    world.check(int(2 * VISIBILITY_SECONDS / CHECK_SECONDS) - 1)
    assert len(world.tasks) == 1
    world.check(2)
    assert len(world.tasks) == 2
    assert world.reports == ["The broker has lost the step: it is sent again."]


def test_revoking_goes_to_the_latest_task() -> None:
    world = World()
    world.task.state, world.task.result = FAILURE, WorkerLostError("signal 9")
    world.step.ready()
    world.step.revoke()
    assert [task.revoked for task in world.tasks] == [False, True]


def test_results_are_kept_by_the_broker_unless_another_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEO_ASSETS_CELERY_BROKER", "redis://broker/0")
    assert app_arguments(Settings())["backend"] == "redis://broker/0"
    monkeypatch.setenv("GEO_ASSETS_CELERY_BACKEND", "redis://other/1")
    assert app_arguments(Settings())["backend"] == "redis://other/1"


def test_without_a_broker_the_remedy_is_named() -> None:
    with pytest.raises(InvalidConfiguration, match="GEO_ASSETS_CELERY_BROKER"):
        app_arguments(Settings())
