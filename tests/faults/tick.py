"""Dagster's daemon for some sensors, in one process that a fault test can kill: tick, dequeue, run, and again.

Here: Dagster's own code of a sensor's tick and of its queue of runs, with each run inside this very process, so that
`killing` reaches every moment from receiving a message to marking its blob. Not here: the daemon, webserver and code
server as processes of their own (`test_kills_of_services`).

As a program: `python -m tests.faults.tick [--forever] [--hidden SECONDS] SENSOR...`. Time
passes faster in it, as `hurried` says.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta

import dagster._daemon.sensor as sensor_daemon
from dagster import DagsterInstance
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from geo_assets.events import storage_queue
from geo_assets.sensors import queues
from tests.faults.hurried import hurry
from tests.services import PROJECT


def shorten_ticks() -> None:
    """Tick again at once, and wait for messages for a moment only."""
    queues.TICK_SECONDS, queues.POLL = 1.0, timedelta(seconds=0.3)
    sensor_daemon.is_under_min_interval = lambda *_: False


def run_daemon(sensors: Sequence[str], *, forever: bool) -> None:
    """Tick each sensor and run what is queued, once or until somebody ends this process."""
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(
            executable_path=sys.executable, module_name="geo_assets.definitions", working_directory=str(PROJECT)
        ),
        location_name="geo_assets.definitions",
    )
    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
    ):
        dequeuer = QueuedRunCoordinatorDaemon(interval_seconds=1)
        while True:
            for sensor in sensors:
                _tick(workspace, sensor)
            _say(dequeuer.run_iteration(workspace))
            if not forever:
                return


def _tick(workspace: WorkspaceProcessContext, name: str) -> None:
    """One tick as `execute_sensor_iteration` does it, of one sensor."""
    instance = workspace.instance
    (location,) = workspace.create_request_context().code_locations
    (repository,) = location.get_repositories().values()
    sensor = repository.get_sensor(name)
    state = instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
    if state is None:
        state = InstigatorState(
            sensor.get_remote_origin(),
            InstigatorType.SENSOR,
            InstigatorStatus.DECLARED_IN_CODE,
            SensorInstigatorData(min_interval=sensor.min_interval_seconds, sensor_type=sensor.sensor_type),
        )
        instance.add_instigator_state(state)
    errors = sensor_daemon._process_tick(
        workspace, logging.getLogger("dagster.daemon.SensorDaemon"), sensor, state, None, {}, None
    )
    _say(errors)


def _say(errors: Iterable[object | None]) -> None:
    """Write errors to the log and go on, as Dagster's daemon does; what never goes right never gets quiet."""
    for error in errors:
        if error is not None:
            logging.getLogger("dagster.daemon").error(error)


def main() -> None:
    """Run the daemon of the sensors named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sensors", nargs="+")
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--hidden", type=float, default=storage_queue.VISIBILITY.total_seconds())
    options = parser.parse_args()
    hurry(hidden_seconds=options.hidden, silent_seconds=0.0)
    shorten_ticks()
    run_daemon(options.sensors, forever=options.forever)


if __name__ == "__main__":
    main()
