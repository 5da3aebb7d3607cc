"""blob_sensor: looks at every source and asks for a run where something is to be done.

Here: sharing a tick's time between the sources and talking to Dagster. Not here: the look at a source
(`observation`) and the decision (`geo_assets.core.change`). The sensor only looks: the run's own listing writes the
ledger.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)
from pydantic import TypeAdapter, ValidationError

from geo_assets.assets.partitions import register_partitions
from geo_assets.core.change import Decision, Watch, decide, next_look
from geo_assets.core.display import one_line
from geo_assets.errors import GeoAssetsError, MarkerRefused, TransientError
from geo_assets.jobs import ingest_observed, ingest_rasters, load_vectors
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.ledger import Ledger
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.observation import observe, recall
from geo_assets.sensors.runs import run_in_progress
from geo_assets.sources import Source

# A tick has 60 s before Dagster cancels it; listing leaves room for the rest.
TICK_BUDGET_SECONDS = 40.0
_CURSOR = TypeAdapter(dict[str, Watch])


class SourcesNotObserved(TransientError):
    """Some sources could not be looked at; the tick shows which and why."""

    code = "sources_not_observed"


@sensor(
    jobs=[ingest_rasters, ingest_observed, load_vectors],
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Lists every source, and asks for one run of each that has new, changed, deleted or unfinished blobs.",
)
def blob_sensor(
    context: SensorEvaluationContext, sources_file: SourcesFile, blob_stores: BlobStores, ledger: Ledger
) -> SensorResult:
    """Observe, decide, request. A source that cannot be observed never counts as empty.

    One failing source must not keep the others from their runs, so requests go out first; the tick fails
    as soon as there is nothing to ask for and no look to go on with, for a tick that fails keeps no cursor.
    """
    end = time.monotonic() + TICK_BUDGET_SECONDS
    sources, relist = sources_file.all(), sources_file.relist()
    register_partitions(context.instance, list(sources))
    watches = {name: watch for name, watch in _read_cursor(context.cursor).items() if name in sources}
    run_requests: list[RunRequest] = []
    reasons: list[str] = []
    errors: list[str] = []
    waiting = _longest_unseen_first(sources.values(), watches)
    while waiting and (time.monotonic() < end or not reasons + errors):
        share = (end - time.monotonic()) / len(waiting)
        source = waiting.pop(0)
        watch = watches.get(source.name, Watch())
        try:
            watch, decision, job_name = _look(
                context,
                source,
                watch,
                blob_stores,
                ledger,
                relist=relist[source.name],
                deadline=time.monotonic() + share,
            )
        except GeoAssetsError as error:
            errors.append(f"{source.name}: {error}")
            context.log.error(one_line(errors[-1]))
            watches[source.name] = replace(watch, looked_at=datetime.now(UTC))
            continue
        watches[source.name] = watch
        reasons.append(decision.reason)
        context.log.info(one_line(decision.reason))
        if decision.request is not None:
            job_name = load_vectors.name if source.tables else job_name
            run_requests.append(RunRequest(run_key=decision.run_key, job_name=job_name, partition_key=source.name))
    if errors and not run_requests and not any(watch.progress for watch in watches.values()):
        raise SourcesNotObserved("; ".join(errors))
    skip_reason = None if run_requests else "; ".join(errors + reasons) or "sources.yaml has no sources"
    return SensorResult(run_requests=run_requests, skip_reason=skip_reason, cursor=_CURSOR.dump_json(watches).decode())


def _look(
    context: SensorEvaluationContext,
    source: Source,
    watch: Watch,
    blob_stores: BlobStores,
    ledger: Ledger,
    *,
    relist: timedelta,
    deadline: float,
) -> tuple[Watch, Decision, str]:
    """Look at one source until ``deadline``; what to remember of it, what to do, and by which job.

    Within ``relist`` of a look or a listing that saw all of it, only the ledger is asked, and a run lists nothing.
    """
    now = datetime.now(UTC)
    watch = replace(watch, looked_at=now)
    if run_in_progress(context, source.name, ledger=ledger):
        return watch, Decision(f"{source.name}: a run is in progress"), ingest_rasters.name
    due = next_look(watch, listed_at=ledger.listed_at(source), relist=relist, rule=source.listing_digest)
    if due is not None and now < due:
        decision = decide(
            source.name, observed=recall(source, ledger=ledger), last=watch.request, run_in_progress=False, now=now
        )
        decision = replace(decision, reason=f"{decision.reason}; looked at again at {due:%H:%M:%S} UTC")
        return replace(watch, request=decision.request or watch.request), decision, ingest_observed.name
    try:
        observed, progress = observe(source, watch.progress, blob_stores=blob_stores, ledger=ledger, deadline=deadline)
    except MarkerRefused as error:
        return replace(watch, progress=None), Decision(f"{source.name}: {error}"), ingest_rasters.name
    decision = decide(source.name, observed=observed, last=watch.request, run_in_progress=False, now=datetime.now(UTC))
    if progress is not None:
        seen = f"{progress.unchanged:,} blobs looked at so far, none of them new; the next tick goes on"
        decision = replace(decision, reason=f"{decision.reason if observed.work else source.name}: {seen}")
    elif not (observed.new or observed.changed or observed.deleted):
        watch = replace(watch, seen_whole_at=now, rule=source.listing_digest)
    watch = replace(watch, progress=progress, request=decision.request or watch.request)
    return watch, decision, ingest_rasters.name


def _read_cursor(cursor: str | None) -> dict[str, Watch]:
    """What earlier ticks remembered; nothing where another release wrote it, for all of it can be seen again."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return {}


def _longest_unseen_first(sources: Iterable[Source], watches: Mapping[str, Watch]) -> list[Source]:
    """Sources in the order of their last look, so that no busy or large one takes the whole budget for ever."""
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(sources, key=lambda source: watches.get(source.name, Watch()).looked_at or never)
