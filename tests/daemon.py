"""The part of Dagster's daemon that evaluates a sensor, for tests: tick after tick, with its cursor.

Here: what tests of sensors share. Not here: the pipeline it looks at (`tests.pipeline`).
"""

import json
from typing import Any

import pytest
from dagster import DagsterRun, DagsterRunStatus, SensorDefinition, build_sensor_context, partition_loading_context
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.test_utils import create_run_for_test

from geo_assets.definitions import build_definitions
from geo_assets.errors import GeoAssetsError
from geo_assets.ledger.blobs import Outstanding
from geo_assets.sensors.blob import LookClock, observe, side_by_side
from geo_assets.sensors.change import Progress
from geo_assets.sources.source import Source
from tests.pipeline import SOURCE, Pipeline


class Daemon:
    """Evaluates tick after tick and keeps the cursor, as Dagster's daemon does."""

    def __init__(self, pipeline: Pipeline, sensor: str = "blob_sensor") -> None:
        self.pipeline = pipeline
        self.sensor = sensor
        self.cursor: str | None = None
        side_by_side.forget()  # the daemon of another test has left its looks

    def tick(self) -> SensorExecutionData:
        """One tick; a cursor is kept unless the tick raises."""
        resources = self.pipeline.resources()
        definitions = build_definitions(resources)
        sensor: SensorDefinition = definitions.resolve_sensor_def(self.sensor)
        instance = self.pipeline.instance
        # Dagster looks partitions up in the instance, which it cannot reopen here, for it is in memory.
        with (
            partition_loading_context(dynamic_partitions_store=instance),
            build_sensor_context(
                instance=instance,
                cursor=self.cursor,
                definitions=definitions,
                resources={name: resources[name] for name in sensor.required_resource_keys},
            ) as context,
        ):
            data = sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data

    def requested(self) -> dict[str, str]:
        """The run keys one tick asks for, by source."""
        requests = self.tick().run_requests or []
        return {str(request.partition_key): str(request.run_key) for request in requests}

    def error(self) -> str:
        """What one tick that fails says."""
        with pytest.raises(GeoAssetsError) as caught:
            self.tick()
        return str(caught.value)

    def looked_at(self, source: str = SOURCE) -> int | None:
        """How many blobs the look at a source has come to; None where none is on the way."""
        progress = json.loads(self.cursor or "{}")[source]["progress"]
        return int(progress["unchanged"]) if progress else None


def observe_one_page(
    source: Source, progress: Progress | None, left: Outstanding, _: LookClock, **parts: Any
) -> object:
    """A look that has no time left: it ends after a page."""
    return observe(source, progress, left, LookClock(deadline=0.0), **parts)


def a_run(
    pipeline: Pipeline, status: DagsterRunStatus, *, job: str = "ingest_rasters", source: str = SOURCE, **tags: str
) -> DagsterRun:
    """A run as the instance may know one, without any process."""
    run: DagsterRun = create_run_for_test(
        pipeline.instance, job_name=job, status=status, tags={"dagster/partition": source, **tags}
    )
    return run
