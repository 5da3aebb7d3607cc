"""storage_queue_sensor and service_bus_sensor: take in what queues report, and launch runs by the ledger.

Here: a tick's time, its cursor, and Dagster. Not here: receiving (`receiving`) and the decision whether a source needs
a run (`geo_assets.sensors.change`). Events only write the ledger; runs are asked for by what it says is left to do, one
a source a tick, so nothing is forgotten when a tick dies between the two.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)
from pydantic import TypeAdapter, ValidationError

from geo_assets.assets.engine import MAX_CORRELATION_IDS
from geo_assets.assets.jobs import ingest_observed, ingest_rasters, load_vectors
from geo_assets.assets.ops import register_partitions
from geo_assets.display import one_line
from geo_assets.models import Channel, Request
from geo_assets.resources.database import Database
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.sensors.change import Observation, change_digest, decide
from geo_assets.sensors.receiving import Receiver, Turn, all_concerned
from geo_assets.sensors.runs import RunRequests, run_in_progress
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import Trouble

# Dagster looks for sensors that are due every 5 s, counted from the start of their last tick: a tick that waits for
# messages until just before leaves no gap. Dagster also waits for it when it is stopped.
TICK_SECONDS = 9.0
INTERVAL_SECONDS = 5
# How long a tick waits for messages at a time; then it looks whether a run has ended for which work waits.
POLL = timedelta(seconds=1)
# What comes so close together makes one run.
QUIET = timedelta(milliseconds=400)
GATHER_SECONDS = 2.0
CORRELATION_TAG = "geo_assets/correlation_id"
"""A run's tag: the correlation ids of the events behind its work, the ten earliest, separated by commas."""
PATH_TAG = "geo_assets/path"
"""A run's tag: which kind of queue asked for it."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a queue sensor remembers from tick to tick: the last request of a source, the trouble with a queue."""

    requests: Mapping[str, Request] = field(default_factory=dict)
    troubles: Mapping[str, Trouble] = field(default_factory=dict)


_CURSOR = TypeAdapter(Memory)


def _build_sensor(path: Channel, description: str) -> SensorDefinition:
    @sensor(
        name=f"{path}_sensor",
        jobs=[ingest_observed, ingest_rasters, load_vectors],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description=description,
    )
    def queue_sensor(
        context: SensorEvaluationContext,
        sources_file: SourcesFile,
        message_queues: MessageQueues,
        blob_stores: BlobStores,
        database: Database,
    ) -> SensorResult:
        rules = [rule for rule in sources_file.queues().values() if rule.path == path]
        if not rules:
            return SensorResult(skip_reason=f"off: no queue in sources.yaml has {path}", cursor=context.cursor)
        memory = read_memory(context.cursor)
        sources = all_concerned(rules, sources_file.all())
        desk = _RunDesk(context, path, sources, database=database, requests=memory.requests)
        with Receiver(
            rules,
            sources=sources,
            troubles=memory.troubles,
            message_queues=message_queues,
            blob_stores=blob_stores,
            database=database,
        ) as receiver:
            _receive(receiver, desk)
            return _result(context, receiver, desk)

    return queue_sensor


storage_queue_sensor = _build_sensor(
    "storage_queue", "Receives blob events from Storage Queues, and launches one run per source with work."
)
service_bus_sensor = _build_sensor(
    "service_bus", "Receives blob events from Service Bus, and launches one run per source with work."
)


def _receive(receiver: Receiver, desk: "_RunDesk") -> None:
    """Receive until there is a run to ask for and a burst is over, or the tick's time is.

    What an earlier tick left is looked at first: it may have died, or a run was in progress.
    """
    end = time.monotonic() + TICK_SECONDS
    desk.look_at_all()
    outstanding = dict(desk.outstanding)
    burst: _Burst | None = None
    while True:
        turn = receiver.turn(wait=QUIET if burst or desk.run_requests else POLL, outstanding=outstanding)
        out_of_time = time.monotonic() > end or not turn.open_queues
        if turn.messages:
            burst = burst or _Burst(time.monotonic())
            burst.sources |= turn.sources
        if burst and burst.goes_on(turn) and not out_of_time:
            continue
        desk.look_at(burst.sources if burst else ())
        burst = None
        if desk.run_requests or out_of_time:
            desk.look_at(receiver.finish().sources)
            return


@dataclass
class _Burst:
    """Messages that came close together since ``began``, and the sources with something to do for them."""

    began: float
    sources: set[str] = field(default_factory=set)

    def goes_on(self, turn: Turn) -> bool:
        """Whether more is waiting, or something may come yet; a trickle is not gathered for ever."""
        return turn.more or (turn.messages > 0 and time.monotonic() < self.began + GATHER_SECONDS)


class _RunDesk:
    """Decides for each source whether a run is to be asked for, by what the ledger says is left to do."""

    def __init__(
        self,
        context: SensorEvaluationContext,
        path: Channel,
        sources: Mapping[str, Source],
        *,
        database: Database,
        requests: Mapping[str, Request],
    ) -> None:
        self._context, self._path, self._sources, self._database = context, path, sources, database
        self.requests = {name: request for name, request in requests.items() if name in sources}
        self.run_requests: dict[str, RunRequest] = {}
        self.outstanding: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._troubles = database.sources.troubles()

    def look_at_all(self) -> None:
        """Look at every source, after its rule went into the ledger.

        And at its runs, whatever is left to do: one that died after its last blob still holds the source's only place.
        """
        register_partitions(self._context.instance, list(self._sources))
        for name, source in self._sources.items():
            self._database.sources.register(source)
            self._look(name)

    def look_at(self, names: Iterable[str]) -> None:
        """Look at these sources, and at those whose work waits for the end of a run."""
        for name in {*names, *self._waiting}:
            self._look(name)

    def _look(self, name: str) -> None:
        """Decide for one source. What is known of goes first, for a listing takes as long as the source is large."""
        requests = RunRequests(self._context, f"{self._path}_sensor", database=self._database, source=name)
        in_progress = bool(requests.on_their_way()) or run_in_progress(self._context, name, database=self._database)
        left, last = self._database.blobs.outstanding(name), requests.last(name, self.requests.get(name))
        asked_at = self._database.listings.listing_asked_at(self._sources[name])
        lists = asked_at is not None and (
            not (left.pending or left.to_withdraw) or (last is not None and last.at > asked_at)
        )
        observed = Observation(
            new=0,
            changed=0,
            deleted=0,
            pending=left.pending,
            to_withdraw=left.to_withdraw,
            digest=change_digest(0, 0, left.digest, *([asked_at] if lists else [])),
            generation=left.generation,
            held=left.held,
            listing_asked=asked_at is not None,
        )
        decision = decide(
            name,
            observed=observed,
            last=last,
            run_in_progress=in_progress,
            trouble=self._troubles.get(name),
            now=datetime.now(UTC),
        )
        decision = requests.ask(name, decision)
        self.outstanding[name] = observed.work
        self.reasons[name] = decision.reason
        (self._waiting.add if in_progress and observed.work else self._waiting.discard)(name)
        if decision.request is not None:
            self.requests[name] = decision.request
            job = ingest_rasters if lists else ingest_observed
            if self._sources[name].tables:
                job = load_vectors
            self.run_requests[name] = RunRequest(
                run_key=decision.run_key, job_name=job.name, partition_key=name, tags=self._tags(name)
            )

    def _tags(self, name: str) -> dict[str, str]:
        ids = self._database.blobs.correlation_ids(name, most=MAX_CORRELATION_IDS)
        return {PATH_TAG: self._path, **({CORRELATION_TAG: ",".join(ids)} if ids else {})}


def _result(context: SensorEvaluationContext, receiver: Receiver, desk: _RunDesk) -> SensorResult:
    """What the tick asks for and says. It does not fail for a queue that does: a failed tick would keep no pause."""
    for trouble in receiver.troubles.values():
        context.log.error(one_line(str(trouble)))
    said = "; ".join([*receiver.reasons(), *desk.reasons.values()])
    context.log.info(one_line(said))
    memory = Memory(requests=desk.requests, troubles=receiver.troubles)
    return SensorResult(
        run_requests=list(desk.run_requests.values()),
        skip_reason=None if desk.run_requests else said,
        cursor=_CURSOR.dump_json(memory).decode(),
    )


def read_memory(cursor: str | None) -> Memory:
    """What earlier ticks remembered; nothing where another release wrote it."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return Memory()
