"""The engine of the stages: it plans, works batch by batch and reports, and is the same for all four.

Here: the graph asset of a stage, what every stage needs around its work, and the boundary of a file: whatever work on
one file raises is recorded as that file's reason, and the others go on. Not here: what a stage is (`stage`), and what
each does (`raster_metadata`, `stac_items`, `cogs`, `vectors.tables`).
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from inspect import Parameter, Signature
from typing import Any, Generic, Self, TypeVar

from dagster import (
    AssetIn,
    AssetsDefinition,
    DynamicOut,
    DynamicOutput,
    In,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    graph_asset,
    op,
)

from geo_assets.assets.census import repairs
from geo_assets.assets.ops import OWNERS, clear_failures, register_partitions, sources_partitions
from geo_assets.assets.stage import BatchReport, Outcome, Scope, Stage, StageBatch, StageRun, Unit
from geo_assets.display import one_line
from geo_assets.errors import (
    DatabaseUnavailable,
    GeoAssetsError,
    InvalidConfiguration,
    StorageUnavailable,
    TransientError,
    Unforeseen,
)
from geo_assets.foreign_errors import reason_of, stops_the_batch
from geo_assets.ledger.schema import check_schema
from geo_assets.storage.blob_store import circuit_breaker

MAX_CORRELATION_IDS = 10
"""How many correlation ids a run names, of the events behind its work."""
MAX_TOLD = 10
"""Files with unforeseen errors that get a line each in a batch's log; the ledger has them all."""
_OF_THE_BATCH = (InvalidConfiguration, TransientError)
"""What work on several units raises of all of them."""

B = TypeVar("B", bound=StageBatch)
U = TypeVar("U", bound=Unit)
D = TypeVar("D")


def build_stage_asset(stage: Stage[Any, Any, Any]) -> AssetsDefinition:
    """The graph asset of a stage: plan -> work on each batch -> finish. The census of its items follows as checks."""
    plan, work, finish = _plan_op(stage), _work_op(stage), _finish_op(stage)

    def composed(**before: Any) -> Any:
        batches, scope = plan(**before)
        return finish(scope, batches.map(work).collect())

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in stage.after]
    composed.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # Dagster reads the inputs from it
    made: AssetsDefinition = graph_asset(
        name=stage.asset,
        ins={name: AssetIn(dagster_type=Nothing) for name in stage.after},
        partitions_def=sources_partitions,
        description=stage.description,
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=OWNERS,
    )(composed)
    return made


def _plan_op(stage: Stage[Any, Any, Any]) -> OpDefinition:
    @op(
        name=stage.ops[0],
        description=stage.descriptions[0],
        ins={name: In(Nothing) for name in stage.after},
        out={"batches": DynamicOut(stage.batch_type), "scope": Out(Scope, is_required=False)},
        config_schema=stage.options.to_config_schema().as_field() if stage.options else None,
        required_resource_keys=set(stage.resources),
    )
    def plan(context: OpExecutionContext) -> Iterator[DynamicOutput[Any] | Output[Scope]]:
        with clear_failures():
            run = StageRun.of(context, context.partition_key)
            if (refusal := stage.refusal(run.source)) is not None:
                if repairs(context.run):  # of sources of any kind: this stage is not for one like it
                    return
                raise refusal
            register_partitions(context.instance, [run.source.name])
            check_schema(run.database.connections)
            run.database.sources.register(run.source)
            run.database.scenes.group_blobs(run.source, run_id=run.run_id)
            if ids := run.database.blobs.correlation_ids(run.source.name, most=MAX_CORRELATION_IDS):
                run.log.info(one_line(f"{run.source.name}: correlation ids {', '.join(ids)}"))
            options = stage.options(**context.op_config) if stage.options else None
            withdrawn = stage.prepare(run, options)
            as_of = run.database.now()
            planned = stage.plan(run, as_of=as_of)
            scope = Scope(
                source=run.source.name,
                as_of=as_of,
                blobs=planned.blobs,
                size_bytes=planned.size_bytes,
                batches=len(planned.batches),
                withdrawn=withdrawn,
                started_at=time.time(),
            )
        run.log.info(one_line(f"{scope.source}: {scope.blobs} blobs in {scope.batches} batches for {stage.asset}"))
        figures = {"blobs": scope.blobs, "bytes": scope.size_bytes, "batches": scope.batches}
        yield Output(scope, "scope", metadata=figures)  # visible before work starts
        for index, (name, batch) in enumerate(planned.batches):
            key = f"b{index:05d}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')[-60:]}"  # sorts, and says which it is
            yield DynamicOutput(batch, mapping_key=key, output_name="batches")

    return plan


def _work_op(stage: Stage[Any, Any, Any]) -> OpDefinition:
    @op(
        name=stage.ops[1],
        description=stage.descriptions[1],
        ins={"batch": In(stage.batch_type)},
        out=Out(BatchReport),
        pool=stage.pool,
        required_resource_keys=set(stage.resources),
    )
    def work(context: OpExecutionContext, batch: Any) -> Any:
        with clear_failures():
            run = StageRun.of(context, batch.source)
            report = work_through(stage, run, batch)
        run.log.info(one_line(f"{batch}: {report}"))
        return report

    return work


def _finish_op(stage: Stage[Any, Any, Any]) -> OpDefinition:
    @op(
        name=stage.ops[2],
        description=stage.descriptions[2],
        required_resource_keys=set(stage.resources),
    )
    def finish(context: OpExecutionContext, scope: Scope, reports: list[BatchReport]) -> None:
        with clear_failures():
            run = StageRun.of(context, scope.source)
            context.add_output_metadata(dict(stage.finish(run, scope, sum(reports, BatchReport()))))
            stage.check(run, scope)

    return finish


def work_through(stage: Stage[B, U, D], run: StageRun, batch: B) -> BatchReport:
    """Work on all units of a batch: each is done or has its reason, and what was done stays if the batch stops.

    Raises what is no unit's own: the store, the database, the disk, the memory or the configuration is at fault. A
    store that was down in the batch before is asked once, and nothing is begun where it still is.
    """
    units = stage.units(run, batch)
    probe = partial(run.blob_stores.probe, run.source) if stage.reads_store else bool
    kept = _Keeping(stage, run)
    with circuit_breaker.guard(run.source.name, probe=probe, report=run.log.warning), kept:
        _work_on(stage, run, units, kept)
    return kept.report


def _work_on(stage: Stage[B, U, D], run: StageRun, units: Sequence[U], kept: "_Keeping[U, D]") -> None:
    """Take the outcomes of the units; where work raises what is not the batch's own, work on the rest one by one."""
    left = {unit.name: unit for unit in units}
    try:
        with closing(stage.work(run, units)) as outcomes:
            while True:
                try:
                    outcome = next(outcomes, None)
                except Exception as error:
                    if _is_of_the_batch(error):
                        raise
                    raised = error
                    break
                if outcome is None:
                    return
                left.pop(outcome.unit.name, None)
                kept.take(outcome)
    except Exception as error:
        if isinstance(error, MemoryError) or not _is_of_the_batch(error):
            raise
        reason = reason_of(error)
        if stage.tells_each and not isinstance(reason, DatabaseUnavailable):
            kept.refuse([Outcome(unit, reason) for unit in left.values()])
        if reason is error:
            raise
        raise reason from error
    run.log.error(one_line(f"{', '.join(list(left)[:3])}: {raised!r}"), exc_info=raised)
    if len(units) == 1:
        kept.refuse([Outcome(unit, reason_of(raised)) for unit in left.values()])
        return
    for unit in left.values():
        _work_on(stage, run, [unit], kept)


def _is_of_the_batch(error: Exception) -> bool:
    """Whether what was raised is no unit's own, or an error of ours that says so of all units."""
    return stops_the_batch(error) or (isinstance(error, _OF_THE_BATCH) and not isinstance(error, Unforeseen))


class _Keeping(Generic[U, D]):
    """Keeps results in steps, records reasons and counts; leaving it keeps the rest, whatever happened."""

    def __init__(self, stage: Stage[Any, U, D], run: StageRun) -> None:
        self._stage, self._run = stage, run
        self._done: list[tuple[U, D]] = []
        self._refused: list[Outcome[U, D]] = []
        self._not_read = self._not_kept = self._told = 0
        self.report = BatchReport()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._keep_step()

    def take(self, outcome: Outcome[U, D]) -> None:
        """Take one outcome. Raises its reason where that is no unit's own."""
        reason = outcome.result
        if not isinstance(reason, GeoAssetsError):
            self._done.append((outcome.unit, reason))
        elif isinstance(reason, self._stage.passes_over):
            self._run.log.info(one_line(reason))
            self.report += BatchReport(passed_over=1)
        elif stops_the_batch(reason):
            raise reason
        else:
            self.refuse([outcome])
        if len(self._done) + len(self._refused) >= self._stage.step_size:
            self._keep_step()
        self._not_read = self._not_read + 1 if isinstance(reason, StorageUnavailable) else 0
        if isinstance(reason, StorageUnavailable) and self._not_read >= self._stage.store_is_down_after:
            raise reason

    def refuse(self, outcomes: Iterable[Outcome[U, D]]) -> None:
        """Have reasons recorded with this step."""
        for outcome in outcomes:
            self._refused.append(outcome)
            if self._stage.tells_each or (isinstance(outcome.result, Unforeseen) and self._told < MAX_TOLD):
                self._told += 1
                self._run.log.warning(one_line(f"{outcome.unit.name}: {outcome.result}"))

    def _keep_step(self) -> None:
        done, self._done = self._done, []
        try:
            if done:
                self._keep(done)
        finally:
            refused, self._refused = self._refused, []
            if refused:
                self._stage.refuse(self._run, refused)
                self._count(refused)

    def _keep(self, done: Sequence[tuple[U, D]]) -> None:
        """Keep results; one that cannot be kept, whatever that raises, keeps no other from it."""
        try:
            kept = self._stage.keep(self._run, done)
        except Exception as error:
            if stops_the_batch(error):
                raise
            if len(done) > 1:
                half = len(done) // 2
                self._keep(done[:half])
                self._keep(done[half:])
                return
            reason, (unit, _) = reason_of(error), done[0]
            if isinstance(reason, Unforeseen):
                self._run.log.error(one_line(f"{unit.name}: {error!r}"), exc_info=error)
            self.refuse([Outcome(unit, reason)])
            self._not_kept = self._not_kept + 1 if _is_of_the_batch(reason) else 0
            if self._not_kept >= self._stage.store_is_down_after:
                raise reason from error
        else:
            self._not_kept = 0
            self._count(each for each in kept if not isinstance(each.result, GeoAssetsError))
            self.refuse(each for each in kept if isinstance(each.result, GeoAssetsError))

    def _count(self, outcomes: Iterable[Outcome[U, D]]) -> None:
        for outcome in outcomes:
            self.report += self._stage.tally(outcome)
