"""blob_sensor: checks every source and launches a run where there is work.

Here: a tick, from what the ledger says of each source to runs, troubles and the cursor; the look at a source, as much
of it as fits into a tick, the rest in the next, which writes nothing; looking at many side by side, so that a source
that does not answer holds up no other, nor the end of a tick. Not here: the decision (`geo_assets.sensors.change`),
and how a thread is left (`geo_assets.workers.daemon_threads`). The sensor only looks: the run's own listing writes the
ledger.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any, Generic, TypeVar

from dagster import DefaultSensorStatus, RunRequest, SensorEvaluationContext, SensorResult, sensor
from pydantic import TypeAdapter, ValidationError

from geo_assets.assets.jobs import ingest_observed, ingest_rasters, load_vectors
from geo_assets.assets.ops import register_partitions
from geo_assets.display import one_line
from geo_assets.errors import (
    DatabaseUnavailable,
    GeoAssetsError,
    MarkerRefused,
    SourceNotReadable,
    StorageUnavailable,
    TransientError,
)
from geo_assets.ledger.blobs import Outstanding
from geo_assets.models import BlobPage
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.sensors.change import Decision, Observation, Progress, Watch, change_digest, decide, next_look
from geo_assets.sensors.runs import RunRequests, sources_with_runs
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import next_trouble
from geo_assets.storage.blob_store import SHORT_PATIENCE, BlobStore, reading_ahead
from geo_assets.storage.listing import SourceListing
from geo_assets.storage.related_blobs import page_marker
from geo_assets.workers.daemon_threads import Errand, SilenceLimit, collect, start

AT_ONCE = 6
"""The number of looks that run in parallel: each takes a processor for the answer, and a connection to the database."""
WAITS_AFTER_SECONDS = 1.5
"""A look that shows nothing for so long waits for its store, and another begins beside it."""
LEFT_AFTER_SECONDS = 5.0
"""A look that shows nothing for this long is left; the result in its thread is taken the next time."""
SILENT_AFTER_SECONDS = 20.0
"""A look that has shown nothing for so long by the next time counts as failed."""
MOST_AT_ONCE = 60
_POLL_SECONDS = 0.2

Seen = TypeVar("Seen")


class LookClock(SilenceLimit):
    """What a look has to know of time, and shows of itself."""

    def __init__(self, deadline: float) -> None:
        super().__init__(LEFT_AFTER_SECONDS)
        self.deadline = deadline
        """By the monotonic clock: when the look should come to an end, as others wait for theirs."""


Look = Callable[[LookClock], Seen]


@dataclass(frozen=True, slots=True, eq=False)
class _Started(Errand[Seen], Generic[Seen]):
    source: Source

    def outcome(self) -> "Seen | Exception | StillWaiting":
        """What the look gave, or why it gave nothing by now."""
        if not self.future.done():
            silent = self.patience.silent_seconds
            if silent <= SILENT_AFTER_SECONDS:
                return StillWaiting(silent)
            return StorageUnavailable(f"The store did not answer for {silent:.0f} s.")
        error = self.future.exception()
        if error is None:
            return self.future.result()
        if not isinstance(error, Exception):
            raise error
        return error


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """The store of a source has not answered yet, for ``seconds``."""

    seconds: float


class SideBySide:
    """Checks sources; remembers those it left, so that no second thread waits for the same store."""

    def __init__(self) -> None:
        self._left: dict[str, _Started[Any]] = {}

    def forget(self) -> None:
        """Forget what was left: its threads go on, and what they bring is dropped."""
        self._left.clear()

    def look(
        self, sources: Sequence[Source], begin: Callable[[Source], Look[Seen] | None], *, end: float
    ) -> Iterator[tuple[Source, Seen | Exception | StillWaiting]]:
        """``begin`` with each source in this order; of its look what it gave, or the error, as soon as it is there.

        The look itself is done in a thread; None, where there is nothing to look at. A look that is left goes on, and
        is StillWaiting; the next time its source has the result, StorageUnavailable if it stayed silent. No source
        is begun with after ``end``, but for the first: what is not given then waits for another time.
        """
        waiting, started = list(sources), list[_Started[Seen]]()
        while True:
            while waiting and _may_start(started) and (time.monotonic() < end or len(waiting) == len(sources)):
                source = waiting.pop(0)
                look = begin(source)
                earlier = self._left.get(source.name)
                if earlier is not None and (earlier.future.done() or earlier.source != source):
                    self._left.pop(source.name, None)
                if look is None:
                    continue
                if earlier is not None and earlier.source == source:
                    yield source, earlier.outcome()
                    continue
                share = (end - time.monotonic()) / ceil((len(waiting) + 1) / AT_ONCE)
                pace = LookClock(deadline=time.monotonic() + share)
                started.append(_Started(start(partial(look, pace), name="look"), pace, source))
            if not started:
                return
            ended, left = collect(started, seconds=_POLL_SECONDS, until_first=True)
            started = [each for each in started if each not in ended and each not in left]
            for each in left:
                self._left[each.source.name] = each
                yield each.source, StillWaiting(each.patience.silent_seconds)
            for each in ended:
                yield each.source, each.outcome()


def _may_start(started: "Sequence[_Started[Seen]]") -> bool:
    at_work = sum(each.patience.silent_seconds < WAITS_AFTER_SECONDS for each in started)
    return at_work < AT_ONCE and len(started) < MOST_AT_ONCE


side_by_side = SideBySide()
"""This process's own."""


def observe(
    source: Source,
    progress: Progress | None,
    left: Outstanding,
    pace: LookClock,
    *,
    blob_stores: BlobStores,
    database: Database,
) -> tuple[Observation, Progress | None]:
    """What is seen of ``source`` from ``progress`` on, and where to go on if that was not all.

    The look ends with the first page that shows something new or changed, which is enough to launch a run; at
    the deadline of its ``pace``, but not before one page; or with the source. Only then is the number of deleted blobs
    known. ``left`` is what the ledger knows. No connection to the database is held while the store is waited for.
    Raises what the store or the ledger raises.
    """
    look = _ResumedListing(source, progress, generation=left.generation)
    new = changed = digest = 0
    with blob_stores.open(source, patience=SHORT_PATIENCE) as store, closing(look.pages(store)) as pages:
        for page in pages:
            pace.show()
            with database.listings.open_comparison(source.name) as compare:
                found = compare(page.blobs)
            new, changed, digest = new + found.new, changed + found.changed, digest + found.digest
            look.unchanged += found.unchanged
            if look.goes_on_after(page) and (new or changed or time.monotonic() > pace.deadline):
                break
    deleted = max(0, left.live - changed - look.unchanged) if look.complete else None
    observed = replace(
        recall(left), new=new, changed=changed, deleted=deleted, digest=change_digest(digest, deleted or 0, left.digest)
    )
    return observed, None if new or changed else look.progress


def recall(left: Outstanding) -> Observation:
    """What the ledger alone knows to be left to do for a source, between two checks of it."""
    return Observation(
        new=0,
        changed=0,
        deleted=None,
        pending=left.pending,
        to_withdraw=left.to_withdraw,
        digest=change_digest(0, 0, left.digest),
        generation=left.generation,
        held=left.held,
    )


class _ResumedListing:
    """The pages of a source, shard by shard: from ``progress`` on while no listing came between, else from the start.

    ``unchanged`` counts the blobs seen so far, in earlier ticks too; ``progress`` is where to go on, None at the end.
    """

    def __init__(self, source: Source, progress: Progress | None, *, generation: int) -> None:
        shards = source.shards or ("",)
        if progress is None or progress.generation != generation or progress.shard not in shards:
            progress = Progress(shard=shards[0], marker=None, unchanged=0, generation=generation)
        self._source = source
        self._generation = generation
        self._marker = progress.marker
        self._shards = list(shards[shards.index(progress.shard) :])
        self.unchanged = progress.unchanged
        self.progress: Progress | None = None
        self.complete = False

    def pages(self, store: BlobStore) -> Generator[BlobPage]:
        """What is left to see; ``complete`` where that was all of the source."""
        while self._shards:
            fetched = store.list_pages(self._source.prefix + self._shards[0], marker=page_marker(self._marker))
            with reading_ahead(fetched) as pages:
                listing = SourceListing(self._source, pages, listed=self.unchanged, marker=self._marker)
                yield from listing
            if not listing.complete:
                return
            self._marker = None
            del self._shards[0]
        self.complete = True

    def goes_on_after(self, page: BlobPage) -> bool:
        """Whether there is more to see after ``page``; ``progress`` is then where."""
        shard = self._shards[0] if page.next_marker is not None else next(iter(self._shards[1:]), None)
        self.progress = None
        if shard is not None:
            self.progress = Progress(shard, page.next_marker, self.unchanged, self._generation)
        return self.progress is not None


SENSOR = "blob_sensor"
# A tick has 60 s before Dagster cancels it; a look that began before this ends seconds after it, or is left.
TICK_BUDGET_SECONDS = 35.0
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=20), timedelta(minutes=5)
"""Of a source that could not be looked at."""
_CURSOR = TypeAdapter(dict[str, Watch])


class SourcesNotObserved(TransientError):
    """No source could be checked; the tick shows why for each."""

    code = "sources_not_observed"
    remedy = "Check each source with `geo-assets sources`; the next tick tries again."


@sensor(
    name=SENSOR,
    jobs=[ingest_rasters, ingest_observed, load_vectors],
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Checks sources every 30 s (with a queue: lists hourly, see `relist`), and launches one run of each with work."
    ),
)
def blob_sensor(
    context: SensorEvaluationContext, sources_file: SourcesFile, blob_stores: BlobStores, database: Database
) -> SensorResult:
    """Observe, decide, request. A source that cannot be observed never counts as empty.

    The ledger keeps its trouble, and it is looked at again after a pause. A failed tick keeps no cursor, so a tick
    fails only where every source is in trouble, and there is nothing to keep.
    """
    end = time.monotonic() + TICK_BUDGET_SECONDS
    tick = _Tick(context, sources_file, blob_stores, database)
    for source, seen in side_by_side.look(tick.sources_in_turn(), tick.begin, end=end):
        tick.take(source, seen)
    return tick.result()


# Of a look what was observed and where it goes on; of a store that only had to answer, what was decided before.
_Seen = tuple[Observation, Progress | None] | Decision


class _Tick:
    """One tick over all sources: what is remembered of each, what is asked for and what is said."""

    def __init__(
        self, context: SensorEvaluationContext, sources_file: SourcesFile, blob_stores: BlobStores, database: Database
    ) -> None:
        self._context, self._blob_stores, self._database = context, blob_stores, database
        self._sources, self._relist = sources_file.all(), sources_file.relist()
        register_partitions(context.instance, list(self._sources))
        cursor = _read_cursor(context.cursor)
        self._watches = {name: cursor.get(name, Watch()) for name in self._sources}
        self._handover = database.handover
        self._requests = RunRequests(context, SENSOR, database=database)
        self._busy = self._requests.on_their_way() | sources_with_runs(context, database=database)
        self._troubles = {name: each for name, each in database.sources.troubles().items() if name in self._sources}
        self._reasons: list[str] = []
        self._run_requests: list[RunRequest] = []

    def sources_in_turn(self) -> list[Source]:
        """In the order of their last look, so that no busy or large one takes the whole budget for ever."""
        never = datetime.min.replace(tzinfo=UTC)
        return sorted(self._sources.values(), key=lambda source: self._watches[source.name].looked_at or never)

    def begin(self, source: Source) -> Look[_Seen] | None:
        """The look at its store, where that is to be asked now; if not, all that follows from the ledger is decided.

        Within ``relist`` of a look or a listing that saw all of it, only the ledger is asked, and a run lists nothing;
        the store then only has to answer before a run is asked for, as it has for a source in trouble.
        """
        name, now = source.name, datetime.now(UTC)
        watch, trouble = self._watches[name], self._troubles.get(name)
        if name in self._busy:
            self._settle(source, replace(watch, looked_at=now), Decision(f"{name}: a run is in progress"))
            return None
        if trouble is not None and now < trouble.until:
            self._say(f"{name}: {trouble}", is_error=True)
            return None
        self._database.sources.register(source)
        left = self._database.blobs.outstanding(name)
        if self._handover.has_to_take_over(source, self._sources):
            self._settle(source, replace(watch, looked_at=now), self._decide_to_take_over(source, left))
            return None
        due = next_look(
            watch,
            listed_at=self._database.listings.listed_at(source),
            relist=self._relist[name],
            rule=source.listing_digest,
        )
        if due is None or due <= now:
            return partial(
                observe, source, watch.progress, left, blob_stores=self._blob_stores, database=self._database
            )
        last = self._requests.last(name, watch.request)
        known = decide(name, observed=recall(left), last=last, run_in_progress=False, now=now)
        known = replace(known, reason=f"{known.reason}; checked again at {due:%H:%M:%S} UTC")
        if known.request is None and trouble is None:
            self._settle(source, replace(watch, looked_at=now), known)
            return None
        return partial(_probe, source, known, blob_stores=self._blob_stores)

    def take(self, source: Source, seen: _Seen | Exception | StillWaiting) -> None:
        """Decide by what was seen; or remember the trouble. Raises DatabaseUnavailable, which is no source's own."""
        watch = replace(self._watches[source.name], looked_at=datetime.now(UTC))
        if isinstance(seen, DatabaseUnavailable):
            raise seen
        if isinstance(seen, StillWaiting):
            self._watches[source.name] = watch
            self._say(f"{source.name}: no answer for {seen.seconds:.0f} s; continues in the next tick", is_error=True)
            return
        if isinstance(seen, MarkerRefused):
            self._settle(source, replace(watch, progress=None), Decision(f"{source.name}: {seen}"))
        elif isinstance(seen, Exception):
            self._watches[source.name] = watch
            self._note_trouble(source, seen)
            return
        elif isinstance(seen, Decision):
            self._settle(source, watch, seen, job=ingest_observed.name)
        else:
            self._settle_observed(source, watch, *seen)
        if self._troubles.pop(source.name, None) is not None:
            self._database.sources.clear_trouble(source.name)

    def result(self) -> SensorResult:
        """What the tick asks for, says and remembers. Raises SourcesNotObserved where no source can be looked at."""
        if self._sources and self._troubles.keys() == self._sources.keys():
            raise SourcesNotObserved("; ".join(self._reasons))
        skip_reason = None if self._run_requests else "; ".join(self._reasons) or "sources.yaml has no sources"
        cursor = _CURSOR.dump_json(self._watches).decode()
        return SensorResult(run_requests=self._run_requests, skip_reason=skip_reason, cursor=cursor)

    def _decide_to_take_over(self, source: Source, left: Outstanding) -> Decision:
        """What a source that is no longer declared has of this one, a listing makes its own."""
        name, now = source.name, datetime.now(UTC)
        digest = change_digest("take over", left.digest)
        observed = replace(recall(left), listing_asked=True, digest=digest)
        last = self._requests.last(name, self._watches[name].request)
        return decide(name, observed=observed, last=last, run_in_progress=False, now=now)

    def _settle_observed(self, source: Source, watch: Watch, observed: Observation, progress: Progress | None) -> None:
        now = datetime.now(UTC)
        last = self._requests.last(source.name, watch.request)
        decision = decide(source.name, observed=observed, last=last, run_in_progress=False, now=now)
        if progress is not None:
            seen = f"{progress.unchanged:,} blobs checked so far, none of them new; continues in the next tick"
            decision = replace(decision, reason=f"{decision.reason if observed.work else source.name}: {seen}")
        elif not (observed.new or observed.changed or observed.deleted):
            watch = replace(watch, seen_whole_at=watch.looked_at, rule=source.listing_digest)
        self._settle(source, replace(watch, progress=progress), decision)

    def _settle(self, source: Source, watch: Watch, decision: Decision, *, job: str = ingest_rasters.name) -> None:
        decision = self._requests.ask(source.name, decision)
        self._watches[source.name] = replace(watch, request=decision.request or watch.request)
        self._say(decision.reason)
        if decision.request is not None:
            job = load_vectors.name if source.tables else job
            self._run_requests.append(RunRequest(run_key=decision.run_key, job_name=job, partition_key=source.name))

    def _note_trouble(self, source: Source, error: Exception) -> None:
        if not isinstance(error, GeoAssetsError):
            self._context.log.error(one_line(f"{source.name}: {error!r}"), exc_info=error)
            error = SourceNotReadable(f"Checking the source raised {type(error).__name__}: {error}")
        last = self._troubles.get(source.name)
        trouble = next_trouble(last, error, now=datetime.now(UTC), first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        self._troubles[source.name] = trouble
        self._database.sources.record_trouble(source.name, trouble)
        self._say(f"{source.name}: {trouble}", is_error=True)

    def _say(self, reason: str, *, is_error: bool = False) -> None:
        """In the tick's log, and in its message where it asks for no run. What fails comes first there."""
        (self._context.log.error if is_error else self._context.log.info)(one_line(reason))
        self._reasons.insert(0 if is_error else len(self._reasons), reason)


def _probe(source: Source, known: Decision, pace: LookClock, *, blob_stores: BlobStores) -> Decision:  # noqa: ARG001
    """``known``, once the store answered."""
    blob_stores.probe(source)
    return known


def _read_cursor(cursor: str | None) -> dict[str, Watch]:
    """What earlier ticks remembered; nothing where another release wrote it, for all of it can be seen again."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return {}
