"""The shape both mapped stages share: plan batches, work on each, and ask the ledger whether all is done.

Here: the plan's dynamic outputs, the report of a batch, and the check at the end. Not here: what a
stage does to a blob (`raster_metadata`, `stac_items`).
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from dagster import DynamicOutput, OpExecutionContext, Output

from geo_assets.assets.fanout import STEP_BUDGET, batch_size
from geo_assets.display import one_line
from geo_assets.errors import LoadIncomplete, StorageUnavailable
from geo_assets.ledger.blobs import Batch, Ledger, Stage


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run's stage has set out to do: the blobs that awaited it and were seen by ``as_of``."""

    source: str
    as_of: datetime
    blobs: int
    size_bytes: int
    batches: int
    withdrawn: int
    started_at: float


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch did, in blobs and bytes read; the failures themselves stand in the ledger."""

    done: int
    failed: int
    bytes_read: int = 0

    def __add__(self, other: "BatchReport") -> "BatchReport":
        return BatchReport(
            done=self.done + other.done,
            failed=self.failed + other.failed,
            bytes_read=self.bytes_read + other.bytes_read,
        )

    def __str__(self) -> str:
        return f"{self.done} done, {self.failed} failed"


PlannedStage = Iterator[DynamicOutput[Batch] | Output[Scope]]


def total(reports: Iterable[BatchReport]) -> BatchReport:
    """The sum of the batches' reports."""
    return sum(reports, BatchReport(done=0, failed=0))


def plan_stage(
    context: OpExecutionContext,
    source: str,
    *,
    stage: Stage,
    ledger: Ledger,
    withdrawn: int = 0,
    by_scene: bool = False,
    one_file_a_step: bool = False,
) -> PlannedStage:
    """The stage's batches as dynamic outputs, and its scope; both are visible before work starts.

    With ``by_scene`` the batches are of scenes, so that none is in two of them. With ``one_file_a_step``, for work that
    takes longer than a step costs, they are of one blob as long as the budget of steps allows.
    """
    as_of = ledger.now()
    blobs, size_bytes = ledger.count_pending(source, stage, as_of=as_of)
    size = max(1, ceil(blobs / STEP_BUDGET)) if one_file_a_step else batch_size(blobs)
    batches = ledger.plan_batches(source, stage, as_of=as_of, batch_size=size, by_scene=by_scene)
    scope = Scope(
        source=source,
        as_of=as_of,
        blobs=blobs,
        size_bytes=size_bytes,
        batches=len(batches),
        withdrawn=withdrawn,
        started_at=time.time(),
    )
    context.log.info(one_line(f"{source}: {blobs} blobs to {stage} in {len(batches)} batches of up to {size}"))
    yield Output(
        scope,
        "scope",
        metadata={"blobs": blobs, "bytes": size_bytes, "batches": len(batches), "blobs a batch": size},
    )
    for index, batch in enumerate(batches):
        yield DynamicOutput(batch, mapping_key=_mapping_key(index, batch), output_name="batches")


def check_complete(scope: Scope, *, stage: Stage, ledger: Ledger) -> None:
    """Raise unless every blob of the scope is done or quarantined, by what the ledger says.

    The collected reports are not asked: a re-execution from failure collects only the re-run steps and
    would report success (dagster#20925, dagster#30077).
    """
    left, _ = ledger.count_pending(scope.source, stage, as_of=scope.as_of)
    if left == 0:
        return
    reasons = [failure for failure in ledger.failures(scope.source, most=1000) if not failure.permanent]
    example = f" For example {reasons[0].message} ({reasons[0].code})" if reasons else ""
    message = f"{left} of {scope.blobs} blobs of {scope.source} still await their turn to {stage}.{example}"
    raise (StorageUnavailable if stage == "describe" else LoadIncomplete)(
        message, remedy="What is done is kept: the next run finishes the rest."
    )


def _mapping_key(index: int, batch: Batch) -> str:
    """A key that sorts and, where the batch is one file, says which."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", batch.first).strip("_")[-60:]
    return f"b{index:05d}_{name}" if batch.blobs == 1 else f"b{index:05d}_{batch.blobs}_blobs"
