"""blob_sensor: looks at every source and asks for a run where something is to be done.

Here: observing and talking to Dagster. Not here: the decision (`geo_assets.core.change`), which needs
neither. The sensor only looks: the run's own listing writes the ledger.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)
from pydantic import TypeAdapter

from geo_assets.assets.partitions import register_partitions
from geo_assets.core.change import Observation, Request, change_digest, decide
from geo_assets.core.listing import SourceListing
from geo_assets.errors import GeoAssetsError, TransientError
from geo_assets.jobs import ingest_rasters
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.ledger import Ledger
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.abandoned_runs import fail_abandoned_runs
from geo_assets.sources import Source

# A tick has 60 s before Dagster cancels it; listing leaves room for the rest.
TICK_BUDGET_SECONDS = 40.0
PARTITION_TAG = "dagster/partition"
_CURSOR = TypeAdapter(dict[str, Request])
_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


class SourcesNotObserved(TransientError):
    """Some sources could not be looked at; the tick shows which and why."""

    code = "sources_not_observed"


@sensor(
    job=ingest_rasters,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Lists every source, and asks for one run of each that has new, changed, deleted or unfinished blobs.",
)
def blob_sensor(
    context: SensorEvaluationContext, sources_file: SourcesFile, blob_stores: BlobStores, ledger: Ledger
) -> SensorResult:
    """Observe, decide, request. A source that cannot be observed never counts as empty.

    One failing source must not keep the others from their runs, so requests go out first; the tick fails
    as soon as there is nothing to ask for.
    """
    deadline = time.monotonic() + TICK_BUDGET_SECONDS
    sources = sources_file.all()
    register_partitions(context.instance, list(sources))
    requested = _CURSOR.validate_json(context.cursor) if context.cursor else {}
    run_requests: list[RunRequest] = []
    reasons: list[str] = []
    errors: list[str] = []
    for source in _longest_unasked_first(list(sources.values()), requested):
        try:
            observed = observe(source, blob_stores=blob_stores, ledger=ledger, deadline=deadline)
            in_progress = _run_in_progress(context, source.name, ledger=ledger)
        except GeoAssetsError as error:
            errors.append(f"{source.name}: {error}")
            context.log.error(errors[-1])
            continue
        decision = decide(
            source.name,
            observed=observed,
            last=requested.get(source.name),
            run_in_progress=in_progress,
            now=datetime.now(UTC),
        )
        reasons.append(decision.reason)
        context.log.info(decision.reason)
        if decision.request is not None:
            requested[source.name] = decision.request
            run_requests.append(RunRequest(run_key=decision.run_key, partition_key=source.name))
    if errors and not run_requests:
        raise SourcesNotObserved("; ".join(errors))
    cursor = _CURSOR.dump_json({name: request for name, request in requested.items() if name in sources}).decode()
    skip_reason = None if run_requests else "; ".join(reasons) or "sources.yaml has no sources"
    return SensorResult(run_requests=run_requests, skip_reason=skip_reason, cursor=cursor)


def observe(source: Source, *, blob_stores: BlobStores, ledger: Ledger, deadline: float) -> Observation:
    """What a listing of ``source`` shows against the ledger, as far as it gets before ``deadline``.

    Raises what the store or the ledger raises.
    """
    ledger.register_source(source)
    new = changed = unchanged = 0
    digest, in_time = 0, True
    with blob_stores.open(source) as store, ledger.open_comparison(source.name) as compare:
        listing = SourceListing(source, store.list_pages(source.prefix))
        for page in listing:
            difference = compare(page)
            new += difference.new
            changed += difference.changed
            unchanged += difference.unchanged
            digest += difference.digest
            if time.monotonic() > deadline:
                in_time = False
                break
    left = ledger.outstanding(source.name)
    deleted = left.live - changed - unchanged if listing.complete and in_time else None
    return Observation(
        new=new,
        changed=changed,
        deleted=deleted,
        pending=left.pending,
        to_withdraw=left.to_withdraw,
        digest=change_digest(digest, deleted or 0, left.digest),
        generation=left.generation,
    )


def _longest_unasked_first(sources: Sequence[Source], requested: dict[str, Request]) -> list[Source]:
    """Sources in the order of their last request, so that a busy one never takes the whole budget for ever."""
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(sources, key=lambda source: requested[source.name].at if source.name in requested else never)


def _run_in_progress(context: SensorEvaluationContext, source: str, *, ledger: Ledger) -> bool:
    for run_id in fail_abandoned_runs(context.instance, job_name=ingest_rasters.name, source=source, ledger=ledger):
        context.log.warning(f"{source}: run {run_id} had lost its worker and was reported as failed")
    filters = RunsFilter(job_name=ingest_rasters.name, statuses=_IN_PROGRESS, tags={PARTITION_TAG: source})
    return bool(context.instance.get_runs(filters=filters, limit=1))
