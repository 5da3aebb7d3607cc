"""The sensors of a world and the runs they ask for, in this very process: where a fault is switched on and off amid it.

Here: Dagster's part as `tests.daemon` plays it, tick by tick, with the run keys it has seen; and waiting until all is
quiet. Not here: the world (`event_world`), a daemon that can be killed (`tick`), the faults.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from dagster import DagsterInstance, RunRequest

from geo_assets.errors import GeoAssetsError
from geo_assets.events import storage_queue
from geo_assets.sensors import blob, change, queues, receiving, runs
from tests.daemon import Daemon
from tests.faults.event_world import HIDDEN_SECONDS, QUIET_WITHIN_SECONDS, EventWorld
from tests.pipeline import SOURCE, Pipeline, failure_text

_PAUSE = timedelta(seconds=1)


class Ticking:
    """Ticks sensors in turn and runs what they ask for; ``said`` is what failed ticks and runs said.

    A tick that fails with anything but our own errors fails the test: that error was not translated.
    """

    def __init__(self, world: EventWorld, pipeline: Pipeline, sensors: Sequence[str]) -> None:
        self.world = world
        self.said: list[str] = []
        self._pipeline = pipeline
        self._daemons = [Daemon(pipeline, sensor) for sensor in sensors]
        self._run_keys: set[str] = set()

    def turn(self) -> None:
        """One tick of each sensor, and the runs it asks for; a tick that fails keeps its cursor."""
        for daemon in self._daemons:
            try:
                data = daemon.tick()
            except GeoAssetsError as error:
                self.said.append(str(error))
                continue
            self.said += [trouble for trouble in [str(data.skip_message or "")] if "in a row" in trouble]
            for request in data.run_requests or []:
                self._run(request, request.job_name or "ingest_observed")

    def turn_for(self, seconds: float) -> None:
        """Turn after turn for so long, at least once."""
        end = time.monotonic() + seconds
        self.turn()
        while time.monotonic() < end:
            self.turn()

    def converge(self) -> None:
        """Turn after turn until nothing is left to do anywhere."""
        deadline = time.monotonic() + QUIET_WITHIN_SECONDS
        while any((left := self.left()).values()):
            assert time.monotonic() < deadline, f"not quiet: {left}\n" + "\n".join(self.said[-20:])
            self.turn()

    def list_all(self) -> None:
        """A listing of the source with all that follows from it, as its `relist` interval has one made."""
        result = self._pipeline.run("ingest_rasters")
        assert result.success, failure_text(result)

    def left(self) -> dict[str, int]:
        """What is left to do, by where it lies."""
        outstanding = self.world.pipeline.database.blobs.outstanding(SOURCE)
        return {**self.world.waiting(), "pending": outstanding.pending, "to withdraw": outstanding.to_withdraw}

    def _run(self, request: RunRequest, job: str) -> None:
        if request.run_key in self._run_keys:  # Dagster runs each key once, for ever
            return
        self._run_keys.add(str(request.run_key))
        result = self._pipeline.run(job, source=str(request.partition_key), run_key=request.run_key)
        if not result.success:
            self.said.append(failure_text(result))


@contextmanager
def ticking(
    world: EventWorld,
    *,
    sensors: Sequence[str] | None = None,
    database_url: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Ticking]:
    """Sensors of the world, by default those of its queues, with time passing faster inside the block.

    ``database_url`` and ``environment`` put something between geo_assets and a service.
    """
    pipeline = world.pipeline
    variables = {"GEO_ASSETS_WORKERS": "1", **world.azurite.environment}
    if world.peer is not None:
        variables["AZURE_SERVICEBUS_CONNECTION_STRING"] = world.peer.connection_string
    with pytest.MonkeyPatch.context() as patch, DagsterInstance.ephemeral() as instance:
        for name, value in {**variables, **(environment or {})}.items():
            patch.setenv(name, value)
        patch.setattr(storage_queue, "VISIBILITY", timedelta(seconds=HIDDEN_SECONDS))
        patch.setattr(runs, "SILENT_SECONDS", 0.0)
        patch.setattr(change, "FIRST_RETRY", _PAUSE)
        patch.setattr(change, "LONGEST_RETRY", _PAUSE)
        patch.setattr(receiving, "LONGEST_PAUSE", _PAUSE)
        patch.setattr(blob, "FIRST_PAUSE", _PAUSE)
        patch.setattr(blob, "LONGEST_PAUSE", _PAUSE)
        patch.setattr(queues, "TICK_SECONDS", 1.0)
        patch.setattr(queues, "POLL", timedelta(seconds=0.3))
        own = replace(pipeline, instance=instance, database_url=database_url or pipeline.database_url)
        yield Ticking(world, own, world.sensors if sensors is None else sensors)
