"""failure_alert_sensor: tells people of failed runs and ticks, poison, backlogs, failed censuses and held deletions.

Here: the troubles that stand now, as Dagster's instance and the ledger know them, and what, where, how many and what to
do in words; one poll, and the cursor that remembers what each destination was told. Not here: what is told and when
(`geo_assets.alerts.alerts`), delivering (`geo_assets.alerts.destinations`). What cannot be asked is a trouble too, and
ends no other.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData, TickStatus
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster_shared.error import SerializableErrorInfo
from pydantic import TypeAdapter, ValidationError

from geo_assets.alerts.alerts import AlertCondition, Notification, Told, plan_alerts
from geo_assets.alerts.destinations import deliver_all, open_destinations
from geo_assets.assets.census import AGREEMENT, CHECKS
from geo_assets.assets.jobs import all_jobs
from geo_assets.assets.retention import retention
from geo_assets.display import one_line, say_duration
from geo_assets.errors import DatabaseUnavailable, GeoAssetsError, InvalidConfiguration, message_and_remedy
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.queues import read_memory, service_bus_sensor, storage_queue_sensor
from geo_assets.sensors.runs import PARTITION_TAG
from geo_assets.sources.rules import AlertRules, Kind
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import Trouble

FAILED_RUNS_STAND = timedelta(days=1)
FAILED_TICKS_STAND = timedelta(hours=1)
FAILURES_TOLD = {"source": 3, "queue": 4}
"""This many failures in a row of a source or a queue are told; one or two are no trouble yet."""
QUEUE_SENSORS = {storage_queue_sensor.name, service_bus_sensor.name}
ALERT_SENSOR = "failure_alert_sensor"
_LONGEST_TEXT = 600
_DECIDED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
# Materializing assets by hand runs in a job that Dagster makes.
_JOBS = {*(job.name for job in all_jobs), retention.name, "__ASSET_JOB"}


@dataclass(frozen=True, slots=True)
class Troubles:
    """The current troubles; ``unseen`` are the kinds that could not be asked for, ``rules`` what is to be told."""

    findings: list[AlertCondition] = field(default_factory=list)
    unseen: set[Kind] = field(default_factory=set)
    rules: AlertRules = field(default_factory=AlertRules)


def find_troubles(instance: DagsterInstance, *, sources_file: SourcesFile, database: Database) -> Troubles:
    """Ask Dagster for failed runs, ticks and checks, and the ledger for the rest."""
    found = [*_failed_runs(instance), *_failed_ticks(instance)]
    unseen: set[Kind] = set()
    rules, sources = AlertRules(), dict[str, Source]()
    try:
        rules, sources = sources_file.alert_rules(), sources_file.all()
    except InvalidConfiguration as error:
        unseen |= {"unreachable", "census", "backlog", "deletions_held", "unforeseen"}
        found.append(_not_observed("sources.yaml", error))
    found += _failed_checks(instance, sources)
    try:
        found += [
            *_sources_away(database, sources),
            *(_former_sources(database, sources) if "census" not in unseen else ()),
            *_poison(database),
            *_backlog_and_deletions(sources.values(), rules, database),
            *_unforeseen(database, sources),
        ]
    except DatabaseUnavailable as error:
        unseen |= {"unreachable", "poison", "backlog", "deletions_held", "unforeseen"}
        found.append(_not_observed("the ledger", error))
    return Troubles(found, unseen, rules)


def _not_observed(what: str, error: GeoAssetsError) -> AlertCondition:
    return AlertCondition(
        kind="not_observed",
        key=f"not_observed:{what}",
        title=f"{what} cannot be read",
        what=_cut(f"{error.code}: {error.message}"),
        count=1,
        remedy=error.remedy or "See the tick of failure_alert_sensor in Dagster.",
        version=error.code,
    )


def _failed_runs(instance: DagsterInstance) -> Iterator[AlertCondition]:
    """A finding for each job and source whose latest run to end has failed."""
    since = datetime.now(UTC) - FAILED_RUNS_STAND
    failed: dict[tuple[str, str | None], list[RunRecord]] = {}
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since)):
        run = record.dagster_run
        if run.job_name in _JOBS:
            failed.setdefault((run.job_name, run.tags.get(PARTITION_TAG)), []).append(record)
    for (job, source), records in failed.items():
        tags = {PARTITION_TAG: source} if source else {}
        success = instance.get_run_records(
            RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS], tags=tags), limit=1
        )
        standing = [record for record in records if not success or record.storage_id > success[0].storage_id]
        if standing:
            yield _failed_run(instance, job, source, standing)


def _failed_run(instance: DagsterInstance, job: str, source: str | None, standing: list[RunRecord]) -> AlertCondition:
    run_id = standing[0].dagster_run.run_id
    cause, why, remedy = _cause(instance, run_id)
    times = "" if len(standing) == 1 else f", {len(standing)} times without a success between"
    return AlertCondition(
        kind="failed_run",
        key=f"failed_run:{job}:{source or ''}",
        title=f"{source or 'geo_assets'}: {job} failed{times}",
        what=f"Run {run_id}: {why}",
        count=len(standing),
        remedy=remedy or "Check the run in Dagster. What it did is kept, and the next run continues.",
        source=source,
        run_id=run_id,
        link=f"runs/{run_id}",
        version=cause,
    )


def _cause(instance: DagsterInstance, run_id: str) -> tuple[str, str, str | None]:
    """(what tells this failure from others, what it says, its remedy) of the first step that failed, or of the run."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    events = [
        record.event_log_entry.dagster_event
        for record in instance.get_records_for_run(run_id, of_type=kinds, limit=20).records
        if record.event_log_entry.dagster_event is not None
    ]
    for event in events:
        if event.event_type is not DagsterEventType.STEP_FAILURE:
            continue
        step = str(event.step_key).partition("[")[0]
        user = event.step_failure_data.user_failure_data
        if user is not None and user.description:
            code, remedy = (user.metadata.get(name) for name in ("code", "remedy"))
            said = message_and_remedy(user.description)[0]
            return f"{step} {code.value if code else ''}", _cut(said), str(remedy.value) if remedy else None
        error = event.step_failure_data.error
        if error is not None:
            return f"{step} {error.cls_name}", _cut(f"{step}: {_root(error)}"), None
    return "run", _cut(next((event.message for event in events if event.message), None) or "no step says why."), None


def _failed_ticks(instance: DagsterInstance) -> Iterator[AlertCondition]:
    """A finding for each sensor whose latest tick to end has failed, except the sensor that reports it."""
    if instance.schedule_storage is None:
        return
    for state in instance.all_instigator_state(
        instigator_type=InstigatorType.SENSOR,
        instigator_statuses={InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE},
    ):
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=(datetime.now(UTC) - FAILED_TICKS_STAND).timestamp(),
            limit=1,
            statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
        )
        if not ticks or state.name == ALERT_SENSOR:
            continue
        if state.name in QUEUE_SENSORS:
            yield from _queues_away(state)
        if ticks[0].status is not TickStatus.FAILURE:
            continue
        error = ticks[0].error
        said, remedy = message_and_remedy(_root(error) if error else "no word why")
        yield AlertCondition(
            kind="failed_tick",
            key=f"failed_tick:{state.name}",
            title=f"{state.name} fails",
            what=_cut(said),
            count=1,
            remedy=remedy or "See the sensor's ticks in Dagster.",
            link=f"locations/{state.origin.location_name}/sensors/{state.name}",
        )


def _queues_away(state: InstigatorState) -> Iterator[AlertCondition]:
    """A finding for each queue that did not serve time and again; its sensor's ticks do not fail for it."""
    cursor = state.instigator_data.cursor if isinstance(state.instigator_data, SensorInstigatorData) else None
    for queue, trouble in read_memory(cursor).troubles.items():
        yield from _away(
            "queue",
            queue,
            trouble,
            title=f"no messages can be received from queue {queue}",
            meanwhile="No message is used up meanwhile",
            link=f"locations/{state.origin.location_name}/sensors/{state.name}",
        )


def _sources_away(database: Database, sources: Mapping[str, Source]) -> Iterator[AlertCondition]:
    """A finding for each source that could not be looked at time and again; no tick fails for one of several."""
    for source, trouble in database.sources.troubles().items():
        if source in sources:
            yield from _away(
                "source",
                source,
                trouble,
                title=f"{source} cannot be listed",
                meanwhile="Its items stay, and it has no runs meanwhile",
                link=f"assets/container_listing?partition={source}",
                source=source,
            )


def _away(
    what: str, name: str, trouble: Trouble, *, title: str, meanwhile: str, link: str, source: str | None = None
) -> Iterator[AlertCondition]:
    if trouble.times < FAILURES_TOLD[what]:
        return
    yield AlertCondition(
        kind="unreachable",
        key=f"unreachable:{what}:{name}",
        title=title,
        what=_cut(str(trouble)),
        count=trouble.times,
        remedy=f"{trouble.remedy} {meanwhile}, and it is tried again automatically.".strip(),
        source=source,
        link=link,
        version=trouble.code,
    )


def _failed_checks(instance: DagsterInstance, sources: Mapping[str, Source]) -> Iterator[AlertCondition]:
    """A finding for each source with an error in the latest of a check of its items that came to an end."""
    for source, declared in sources.items():
        failed, asset = {}, "vector_tables" if declared.tables else "stac_items"
        for key, record in _latest_checks(instance, source, asset).items():
            evaluation = record.evaluation
            if evaluation and not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR:
                counted = evaluation.metadata.get(CHECKS[key.name][0] if key.name in CHECKS else "disagreements")
                number = counted.value if counted else 1
                failed[key.name] = len(number) if isinstance(number, dict) else int(str(number))
        if failed:
            yield AlertCondition(
                kind="census",
                key=f"census:{source}",
                title=f"{source}: blobs and items disagree",
                what=f"Checks of {asset} that failed: "
                + ", ".join(f"{name} ({number:,})" for name, number in sorted(failed.items())),
                count=sum(failed.values()),
                remedy=_remedy_of_checks(source, failed),
                source=source,
                link=f"assets/{asset}?view=checks&partition={source}",
                version=" ".join(sorted(failed)),
            )


def _remedy_of_checks(source: str, failed: Mapping[str, int]) -> str:
    """What fixes the checks; no run fixes what a former source left."""
    of_formers = "Run `geo-assets orphans`, then adopt or remove what a former source left."
    if set(failed) == {"items_have_sources"}:
        return of_formers
    said = f"Run `geo-assets census {source}`, then the job `reconcile` or `geo-assets repair {source}`."
    return f"{said} {of_formers}" if "items_have_sources" in failed else said


def _former_sources(database: Database, sources: Mapping[str, Source]) -> Iterator[AlertCondition]:
    """A finding for each source that is no longer declared, whose collection no declared source has."""
    collections = {source.collection.id for source in sources.values()}
    for former in database.handover.former_sources(sources):
        if former.collection_id not in collections:
            yield AlertCondition(
                kind="census",
                key=f"census:{former.source}",
                title=f"{former.source}: it is no longer declared, and its items are left",
                what=f"{former.items:,} items and {former.tables:,} tables of {former.url} are in the catalogue.",
                count=former.items,
                remedy=f"Adopt or remove them with `geo-assets orphans {former.source}`, or declare it again.",
            )


def _latest_checks(
    instance: DagsterInstance, source: str, asset: str
) -> dict[AssetCheckKey, AssetCheckExecutionRecord]:
    """The latest decision of each check of a source's ``asset``; one that is only planned decides nothing."""
    storage, one = instance.event_log_storage, PartitionKeyFilter(key=source)
    checks = [AssetCheckKey(AssetKey(asset), name) for name in (*CHECKS, AGREEMENT)]
    latest = dict(storage.get_latest_asset_check_execution_by_key(checks, partition_filter=one))
    for key, record in list(latest.items()):
        if record.status not in _DECIDED:
            decided = storage.get_asset_check_execution_history(key, limit=1, status=_DECIDED, partition_filter=one)
            del latest[key]
            if decided:
                latest[key] = decided[0]
    return latest


def _poison(database: Database) -> Iterator[AlertCondition]:
    for poison in database.events.poison():
        correlated = f" (correlation id {poison.correlation_id})" if poison.correlation_id else ""
        messages = "1 message was" if poison.messages == 1 else f"{poison.messages:,} messages were"
        yield AlertCondition(
            kind="poison",
            key=f"poison:{poison.path}:{poison.queue}",
            title=f"{poison.queue}: {messages} dead-lettered",
            what=_cut(f"The latest{correlated}: {poison.error_code}: {poison.error_message}"),
            count=poison.messages,
            remedy="Run `geo-assets deadletters list`; replay them when the cause is fixed, or drop them. The next "
            "listing finds what they reported.",
            version=str(poison.latest),
        )


def _backlog_and_deletions(
    sources: Iterable[Source], rules: AlertRules, database: Database
) -> Iterator[AlertCondition]:
    now = database.now()
    for source in (source.name for source in sources):
        left = database.blobs.outstanding(source)
        if left.pending_since is not None and now - left.pending_since > rules.backlog:
            waits = say_duration(now - left.pending_since)
            yield AlertCondition(
                kind="backlog",
                key=f"backlog:{source}",
                title=f"{source}: a blob has been waiting for its item for {waits}",
                what=f"{left.pending - left.cogs_to_link:,} blobs are pending, {left.size_bytes:,} bytes; the limit is "
                f"{say_duration(rules.backlog)}.",
                count=left.pending - left.cogs_to_link,
                remedy=f"Check `geo-assets status {source}` and the source's latest runs: they fail, are queued behind "
                "others, or no daemon starts them.",
                source=source,
                link=f"assets/stac_items?partition={source}",
            )
        if left.held:
            deletions = database.deletions.of(source)
            yield AlertCondition(
                kind="deletions_held",
                key=f"deletions_held:{source}",
                title=f"{source}: {deletions.held:,} deletions are held",
                what=f"{deletions.held:,} of {deletions.items:,} items ({deletions.held_share:.0%}) would be "
                "removed because their blobs are gone.",
                count=deletions.held,
                remedy=f"If intended, run `geo-assets deletions {source} --approve`; otherwise restore the blobs.",
                source=source,
                link=f"assets/stac_items?partition={source}",
            )


def _unforeseen(database: Database, sources: Mapping[str, Source]) -> Iterator[AlertCondition]:
    """A finding for each source with files that our code failed at."""
    for each in database.blobs.unforeseen():
        if each.source in sources:
            files = "1 file" if each.files == 1 else f"{each.files:,} files"
            yield AlertCondition(
                kind="unforeseen",
                key=f"unforeseen:{each.source}",
                title=f"{each.source}: {files} failed in a way that was not foreseen",
                what=_cut(f"The latest, {each.latest}: {each.message}"),
                count=each.files,
                remedy=f"List them with `geo-assets quarantine list {each.source}` or `geo-assets cogs {each.source}`. "
                "Each is tried three times; the other files of the source are done.",
                source=each.source,
                version=str(each.files),
            )


def _root(error: SerializableErrorInfo) -> str:
    """What the innermost error says, without the name of its class's module."""
    while error.cause is not None:
        error = error.cause
    head, separator, said = error.message.strip().partition(": ")
    return f"{head.rpartition('.')[2]}{separator}{said}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ..."


_CURSOR = TypeAdapter(dict[str, dict[str, Told]])


@sensor(
    name=ALERT_SENSOR,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sends alerts by log, webhook and e-mail when something needs a person (docs/guides/alerts.md).",
)
def failure_alert_sensor(
    context: SensorEvaluationContext, sources_file: SourcesFile, database: Database
) -> SensorResult:
    """Find, plan, deliver. What a destination was told moves on only when it took the message.

    So a destination that is down hears of everything later, and no other hears anything twice.
    """
    settings, now = sources_file.settings, datetime.now(UTC)
    told = _read_cursor(context.cursor)
    troubles = find_troubles(context.instance, sources_file=sources_file, database=database)
    destinations = open_destinations(settings, context.log)
    plans = {
        destination.name: plan_alerts(
            troubles.findings,
            told.get(destination.name, {}),
            rules=troubles.rules,
            now=now,
            unseen=troubles.unseen,
        )
        for destination in destinations
    }
    messages = {name: Notification(alerts, now, settings.dagster_url) for name, (alerts, _) in plans.items() if alerts}
    failures = deliver_all(messages, destinations)
    for failure in failures.values():
        context.log.error(one_line(str(failure)))
    after = {name: told.get(name, {}) if name in failures else told_now for name, (_, told_now) in plans.items()}
    said = [
        f"{len(troubles.findings)} troubles stand",
        *(f"{len(each.alerts)} to {name}" for name, each in messages.items()),
    ]
    return SensorResult(
        skip_reason="; ".join(said + [str(failure) for failure in failures.values()]),
        cursor=_CURSOR.dump_json(after).decode(),
    )


def _read_cursor(cursor: str | None) -> dict[str, dict[str, Told]]:
    """What was told before; nothing where another release wrote it, so that current troubles are told once more."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return {}
