"""Steps on many machines: the Celery application and the executor that sends steps to it, and sees workers die.

Here: what `geo_assets.celery.app` (the workers) and `geo_assets.celery.definitions` (the runs) share.
Needs the extra `celery`. Not here: how dagster-celery orders steps; its loop is used as it is.

dagster-celery alone waits for ever for a step whose worker was killed: Celery has acknowledged the
message by then. Acknowledging late instead would send every step a second time that takes longer than
Redis' visibility timeout. So a worker holds a lock in PostgreSQL for the step it works on, as a run's
worker does for its run, and a started step whose lock no session holds is sent again.
"""

import os
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery, Task
from celery.result import AsyncResult
from celery.states import FAILURE, PENDING, READY_STATES, STARTED
from dagster import DagsterEvent, Executor, InitExecutorContext, executor, multiple_process_executor_requirements
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.instance.ref import InstanceRef
from dagster._grpc.types import ExecuteStepArgs
from dagster._record import copy
from dagster._serdes import pack_value, unpack_value
from dagster_celery.config import DEFAULT_CONFIG
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import CeleryExecutor, _submit_task
from dagster_celery.make_app import make_app

from geo_assets.errors import GeoAssetsError, InvalidConfiguration, TransientError
from geo_assets.resources.database import Database
from geo_assets.sensors.runs import PARTITION_TAG
from geo_assets.settings import Settings

QUEUE = "dagster"
# A message that no worker has started on is given to another one after this time: those of a worker
# that died between taking and starting it. With prefetching off a worker holds none for longer.
VISIBILITY_SECONDS = 60
CHECK_SECONDS = 2.0
# A step that takes its worker down each time (memory, a crash in C) must not take down all of them.
MOST_SENDS = 3


class WorkerLost(TransientError):
    """Every worker that ran the step died."""

    code = "worker_lost"
    remedy = "Check the workers' logs and memory; the next run finishes the rest."


def app_arguments(settings: Settings) -> dict[str, Any]:
    """What the Celery application is made with, the same on both sides of the broker."""
    if settings.celery_broker is None:
        raise InvalidConfiguration(
            "No Celery broker is named.", remedy="Set GEO_ASSETS_CELERY_BROKER, e.g. redis://host:6379/0."
        )
    broker = settings.celery_broker.get_secret_value()
    backend = settings.celery_backend.get_secret_value() if settings.celery_backend else broker
    config = {
        **DEFAULT_CONFIG,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {"visibility_timeout": VISIBILITY_SECONDS},
        "result_expires": 86_400,
        "task_acks_late": False,
        "task_track_started": True,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        # One step a worker, in a thread: a process that Celery forks could not start the processes that
        # read headers (billiard stands in for multiprocessing there), and those are what uses the host.
        "worker_pool": "threads",
        "worker_concurrency": 1,
        # Dagster captures what a step prints by its file descriptors.
        "worker_redirect_stdouts": False,
    }
    return {"broker": broker, "backend": backend, "config_source": SimpleNamespace(**config)}


def build_app(settings: Settings) -> Celery:
    """The Celery application of these settings."""
    return make_app(app_arguments(settings))


class StepTask(Task):  # type: ignore[misc]
    """Executes one step on this host, under a lock that says so for as long as this process lives."""

    # The result is the step's events, which the log need not show.
    resultrepr_maxsize = 20

    def __call__(self, **arguments: Any) -> Any:
        """Run the task with this host's own DAGSTER_HOME instead of the sender's, which is a folder over there."""
        packed = unpack_value(arguments["execute_step_args_packed"], as_type=ExecuteStepArgs)
        instance_ref = InstanceRef.from_dir(os.environ["DAGSTER_HOME"])
        arguments["execute_step_args_packed"] = pack_value(copy(packed, instance_ref=instance_ref))
        with Database().working_on(self.request.id):
            return self.run(**arguments)


class WatchedStep:
    """A step that was sent, as dagster-celery's loop asks for it: ready, get, revoke.

    ``send`` sends it (again), ``has_worker`` tells whether a session holds the lock of a task,
    ``queued`` counts the messages no worker has taken, and ``report`` tells people.
    """

    def __init__(
        self,
        send: Callable[[], AsyncResult],
        *,
        has_worker: Callable[[str], bool],
        queued: Callable[[], int],
        report: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send, self._has_worker, self._queued, self._report, self._now = send, has_worker, queued, report, now
        self._sends = 0
        self._next_check = 0.0
        self._suspicion = ""
        self._error: WorkerLost | None = None
        self._send_again()

    def ready(self) -> bool:
        """Whether the step has ended, or is abandoned; sends it again if its worker is gone."""
        if self._error is not None:
            return True
        state = self._result.state
        if state == FAILURE and isinstance(self._result.result, WorkerLostError):
            self._lose("The process that worked on the step was killed")
        elif state in READY_STATES:
            return True
        elif self._now() >= self._next_check:
            self._next_check = self._now() + CHECK_SECONDS
            suspicion = self._suspect(state)
            # Twice in a row: a worker between the lock and the next state holds none for a moment.
            if suspicion and suspicion == self._suspicion:
                self._lose(suspicion)
            else:
                self._suspicion = suspicion
        return self._error is not None

    def get(self) -> Any:
        """The step's events; raises what ended it."""
        if self._error is not None:
            raise self._error
        return self._result.get()

    def revoke(self) -> None:
        """Keep the step from being started."""
        self._result.revoke()

    def _suspect(self, state: str) -> str:
        """Why no worker seems to be on the step, or nothing."""
        try:
            if state == STARTED and not self._has_worker(self._result.id):
                return "The worker that had started on the step is gone"
        except GeoAssetsError:
            return ""  # a database that is away for a moment says nothing about the worker
        in_broker = self._now() - self._sent_at < 2 * VISIBILITY_SECONDS or self._queued() > 0
        return "The broker has lost the step" if state == PENDING and not in_broker else ""

    def _lose(self, reason: str) -> None:
        if self._sends >= MOST_SENDS:
            self._error = WorkerLost(f"{reason}; it was sent {self._sends} times.")
        else:
            self._report(f"{reason}: it is sent again.")
            self._send_again()

    def _send_again(self) -> None:
        self._result = self._send()
        self._sends += 1
        self._sent_at = self._now()
        self._next_check = self._sent_at + CHECK_SECONDS
        self._suspicion = ""


class WatchingCeleryExecutor(CeleryExecutor):
    """dagster-celery's executor on our settings, which holds the run's lock and watches each step."""

    def __init__(self, retries: RetryMode) -> None:
        self._retries = retries

    def app_args(self) -> dict[str, Any]:
        """The arguments of the application; asked for when a run starts."""
        return app_arguments(Settings())

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Run the plan. While it waits for workers it is alive, and says so to `fail_if_abandoned`."""
        database = Database()

        def send(app: Celery, context: PlanOrchestrationContext, step: Any, *rest: Any) -> WatchedStep:
            return WatchedStep(
                lambda: _submit_task(app, context, step, *rest),
                has_worker=database.has_worker,
                queued=lambda: count_queued(app, rest[0]),
                report=lambda text: _report(context, text, step_key=step.key),
            )

        source = plan_context.dagster_run.tags.get(PARTITION_TAG)
        with database.working_on(plan_context.run_id):
            if source is not None:  # kept between steps too, when no worker does
                database.take_turn(source, run_id=plan_context.run_id)
            try:
                yield from core_celery_execution_loop(plan_context, execution_plan, step_execution_fn=send)
            finally:
                database.end_turns(plan_context.run_id)


def count_queued(app: Celery, queue: str) -> int:
    """How many messages wait in ``queue`` for a worker."""
    with app.connection_for_read() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0  # in Redis a queue without messages is no queue


def _report(context: PlanOrchestrationContext, text: str, *, step_key: str) -> None:
    context.instance.report_engine_event(text, context.dagster_run, cls=WatchingCeleryExecutor, step_key=step_key)


@executor(
    name="celery",
    config_schema={"retries": get_retries_config()},
    requirements=multiple_process_executor_requirements(),
)
def celery_executor(init_context: InitExecutorContext) -> Executor:
    """Steps go to the workers of GEO_ASSETS_CELERY_BROKER; see docs/guides/celery.md."""
    retries: Any = init_context.executor_config["retries"]
    return WatchingCeleryExecutor(RetryMode.from_config(retries) or RetryMode.ENABLED)
