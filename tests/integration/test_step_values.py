"""Values between steps, in the catalogue: as they were, of the run that made them, and only of declared types."""

from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterType,
    OpExecutionContext,
    OutputContext,
    ReexecutionOptions,
    build_input_context,
    build_output_context,
    execute_job,
    in_process_executor,
    job,
    op,
    reconstructable,
)
from dagster._core.types.dagster_type import resolve_dagster_type

from geo_assets.assets.stage import BatchReport, Scope
from geo_assets.errors import InvalidConfiguration
from geo_assets.ledger.blobs import Batch
from geo_assets.resources.database import StepValueMissing, StepValues

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
SCOPE = Scope("s", as_of=MOMENT, blobs=2, size_bytes=1, batches=1, withdrawn=0, started_at=MOMENT.timestamp())
VALUES: list[tuple[Any, Any]] = [
    (Scope, SCOPE),
    (Batch, Batch("s", "a/\u00e9 'x'.tif", "z.tif", as_of=MOMENT, blobs=2, size_bytes=2**40)),
    (BatchReport, BatchReport(done=99, failed=1, bytes_read=12345)),
    (str, "Hello, guest 1!"),
    (int, 3),
    (list[int], [1, 2]),
]


@pytest.fixture
def step_values(catalogue: str) -> StepValues:
    """The IO manager on a migrated database."""
    return StepValues(database_url=catalogue)


def output(declared: Any, *, run_id: str = "run", mapping_key: str | None = None) -> OutputContext:
    dagster_type: DagsterType = resolve_dagster_type(declared)
    return build_output_context(
        step_key="step", name="result", run_id=run_id, mapping_key=mapping_key, dagster_type=dagster_type
    )


@pytest.mark.parametrize(("declared", "value"), VALUES)
def test_a_value_comes_back_as_it_was(step_values: StepValues, declared: Any, value: Any) -> None:
    context = output(declared)
    step_values.handle_output(context, value)
    loaded = step_values.load_input(build_input_context(upstream_output=context))
    assert loaded == value
    assert type(loaded) is type(value)


def test_a_step_that_runs_again_replaces_its_value(step_values: StepValues) -> None:
    for value in (1, 2):
        step_values.handle_output(output(int), value)
    assert step_values.load_input(build_input_context(upstream_output=output(int))) == 2


def test_values_are_told_apart_by_run_and_mapping_key(step_values: StepValues) -> None:
    contexts = [output(int, run_id=run, mapping_key=key) for run in ("one", "two") for key in ("a", "b")]
    for number, context in enumerate(contexts):
        step_values.handle_output(context, number)
    loaded = [step_values.load_input(build_input_context(upstream_output=context)) for context in contexts]
    assert loaded == [0, 1, 2, 3]


def test_a_value_that_is_gone_says_how_to_go_on(step_values: StepValues) -> None:
    with pytest.raises(StepValueMissing, match="Run the whole job again"):
        step_values.load_input(build_input_context(upstream_output=output(int)))


def test_an_output_without_a_type_is_refused_rather_than_changed(step_values: StepValues) -> None:
    with pytest.raises(InvalidConfiguration, match="Annotate"):
        step_values.handle_output(output(Any), Batch("s", "a", "b", as_of=MOMENT, blobs=1, size_bytes=1))


def test_the_value_of_an_asset_is_refused(step_values: StepValues) -> None:
    context = build_output_context(name="result", asset_key=AssetKey("pixels"), run_id="run", step_key="pixels")
    with pytest.raises(InvalidConfiguration, match="pixels"):
        step_values.handle_output(context, 1)


@op
def first() -> int:
    """A value."""
    return 20


@op
def second(context: OpExecutionContext, value: int) -> int:
    """Fails the first time."""
    if context.run.parent_run_id is None:
        raise ValueError("not yet")
    return value + 1


@job(resource_defs={"io_manager": StepValues.configure_at_launch()}, executor_def=in_process_executor)
def counting() -> None:
    """Two steps."""
    second(first())


def test_a_run_executed_again_from_its_failure_reads_the_values_of_the_first(catalogue: str) -> None:
    config = {"resources": {"io_manager": {"config": {"database_url": catalogue}}}}
    with DagsterInstance.local_temp() as instance:
        failed = execute_job(reconstructable(counting), instance=instance, run_config=config)
        assert not failed.success
        options = ReexecutionOptions.from_failure(failed.run_id, instance)
        with execute_job(
            reconstructable(counting), instance=instance, run_config=config, reexecution_options=options
        ) as again:
            assert again.success
            assert again.output_for_node("second") == 21
