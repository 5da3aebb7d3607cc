"""The runs of this project among all that a Dagster instance has, and what may go of them.

Here: which runs are ours, and asking the instance (never our own database) what they hold. Not here: at what age
they go (`geo_assets.assets.retention`).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy
from dagster import (
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    EventRecordsResult,
    RunsFilter,
)
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster_postgres import PostgresEventLogStorage

from geo_assets.ledger.history import Removed

T = TypeVar("T")

OWN_TAG = {"geo_assets/run": "true"}
"""The tag of every job of ours, and so of its runs."""
JOB_TAG = "geo_assets/job_id"
"""The tag of a run that was launched for a job of the API: that job's id."""
_REPOSITORY_TAG = ".dagster/repository"
_OF_ASSETS = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION)
_IDS_A_QUERY = 500

# Events that only the timeline of a run shows. Not LOGS_CAPTURED, by which the UI finds what a step printed.
STEP_EVENT_TYPES = [
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "OBJECT_STORE_OPERATION",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_RESTARTED",
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_UP_FOR_RETRY",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
]


def own_runs(
    instance: DagsterInstance, asking: DagsterRun, *, statuses: Sequence[DagsterRunStatus], before: datetime
) -> list[str]:
    """Return the ids of our runs that were last updated before then.

    Ours are the runs with our tag, and those of the code location and repository that the run ``asking`` is of:
    Dagster writes both into a tag of what is launched in the UI, also where assets are materialized without a job.
    """
    tags = [OWN_TAG]
    if label := asking.tags.get(_REPOSITORY_TAG):
        tags.append({_REPOSITORY_TAG: label})
    found: dict[str, None] = {}
    for tag in tags:
        filters = RunsFilter(statuses=list(statuses), updated_before=before, tags=tag)
        found |= dict.fromkeys(instance.get_run_ids(filters))
    return list(found)


def runs_of_latest(instance: DagsterInstance, run_ids: Iterable[str]) -> set[str]:
    """Return those of the runs that hold the latest materialization or observation of an asset or a partition."""
    asked = set(run_ids)
    keys = {key for run_id in asked for key in _assets_of(instance, run_id)}
    return {run_id for key in keys for run_id in _holders(instance, key)} & asked


def api_jobs_in_use(instance: DagsterInstance, job_ids: Sequence[str], *, since: datetime) -> set[str]:
    """Return those of the API's jobs that have a run in progress, or one that was updated since then."""
    in_use: set[str] = set()
    for part in _parts(job_ids):
        for record in instance.get_run_records(RunsFilter(tags={JOB_TAG: list(part)})):
            if not record.dagster_run.is_finished or record.update_timestamp.replace(tzinfo=UTC) >= since:
                in_use.add(record.dagster_run.tags[JOB_TAG])
    return in_use


def measure_events(instance: DagsterInstance, run_id: str) -> Removed:
    """Return how many events a run has, and their bytes where PostgreSQL keeps them."""
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return Removed(rows=len(instance.all_logs(run_id)))
    size = sqlalchemy.func.coalesce(sqlalchemy.func.sum(sqlalchemy.func.octet_length(Events.c.event)), 0)
    count = sqlalchemy.select(sqlalchemy.func.count(), size).where(Events.c.run_id == run_id)
    with storage.index_connection() as connection:
        rows, size_bytes = connection.execute(count).one()
    return Removed(rows, size_bytes)


def delete_step_events(instance: DagsterInstance, run_ids: Sequence[str]) -> Removed | None:
    """Delete the step events and log lines of the runs; None where the instance keeps events outside PostgreSQL.

    Dagster offers no way to delete some events of a run (dagster#33785), so its table is used.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return None
    removed = Removed()
    kind = Events.c.dagster_event_type
    for part in _parts(run_ids):
        # Without a type are the lines of a log.
        of_steps = sqlalchemy.or_(kind.is_(None), kind.in_(STEP_EVENT_TYPES))
        statement = (
            sqlalchemy.delete(Events)
            .where(Events.c.run_id.in_(part), of_steps)
            .returning(sqlalchemy.func.octet_length(Events.c.event))
        )
        with storage.index_connection() as connection:
            sizes = connection.execute(statement).scalars().all()
        removed += Removed(len(sizes), sum(sizes))
    return removed


def _assets_of(instance: DagsterInstance, run_id: str) -> Iterator[AssetKey]:
    records = instance.get_records_for_run(run_id, of_type=set(_OF_ASSETS)).records
    for record in records:
        if record.asset_key is not None:
            yield record.asset_key


def _holders(instance: DagsterInstance, key: AssetKey) -> Iterator[str]:
    """The runs of the newest event of each kind about an asset, and about each of its partitions."""
    for kind in _OF_ASSETS:
        yield from _runs_in(_fetch(instance, kind, key, limit=1))
        latest = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind)
        for part in _parts(list(latest.values())):
            found = AssetRecordsFilter(asset_key=key, storage_ids=part)
            yield from _runs_in(_fetch(instance, kind, found, limit=len(part)))


def _fetch(
    instance: DagsterInstance, kind: DagsterEventType, wanted: AssetKey | AssetRecordsFilter, *, limit: int
) -> EventRecordsResult:
    is_made = kind is DagsterEventType.ASSET_MATERIALIZATION
    return (instance.fetch_materializations if is_made else instance.fetch_observations)(wanted, limit=limit)


def _runs_in(found: EventRecordsResult) -> Iterator[str]:
    return (record.run_id for record in found.records)


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _IDS_A_QUERY] for start in range(0, len(values), _IDS_A_QUERY))
