"""Receiving from several queues within one tick, side by side, so that none keeps another waiting.

Here: caps, back-pressure, the thread that a queue has, and the pause of a queue that is unavailable. Not here: what
happens to a batch (`geo_assets.events.observer`), what follows for runs (`queues`).
"""

import logging
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self

from geo_assets.errors import GeoAssetsError, QueueUnavailable, StorageUnavailable
from geo_assets.events.message_queue import MessageQueue
from geo_assets.events.observer import EventObserver, TakenBatch
from geo_assets.ledger.database import close_kept_connection
from geo_assets.models import Message
from geo_assets.resources.database import Database
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.rules import QueueRule
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import Trouble, next_trouble
from geo_assets.workers.daemon_threads import Errand, SilenceLimit, collect, start

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=1)
"""Of a queue that is unavailable."""
# What asks a store and then a queue ends by itself within 13 s. These are for what does not end: a resolver that hangs.
SILENT_SECONDS = 15.0
"""A queue that gave no answer for so long is left: its thread ends with its request, and the tick does not wait."""
TAKING_SECONDS = 30.0
"""A batch that is not looked at, committed and settled within so long is left likewise."""
_PROBE_SECONDS = 5.0
_MOST_PROBED = 16
_CLOSE_SECONDS = 3.0
_SLACK_SECONDS = 0.5  # of a turn: for an answer to come and be committed
_COUNTED = ("messages", "new", "changed", "deleted", "unchanged", "redelivered", "abandoned", "poisoned")
_LOG = logging.getLogger(__name__)
_left: dict[str, Future[Any]] = {}
"""Of each queue what this process left and has not ended: no second thread waits for the same queue."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of all queues brought: messages, the sources with something to do, and whether more is waiting.

    ``open_queues`` is how many queues were asked; with none of them there is no use in another turn.
    """

    open_queues: int
    messages: int
    more: bool
    sources: frozenset[str]


@dataclass
class _Asked:
    """A batch of at most ``most`` messages that a thread is asking for, and then takes."""

    most: int
    patience: SilenceLimit = field(default_factory=lambda: SilenceLimit(SILENT_SECONDS))
    has_messages: bool = False
    batch: "Future[TakenBatch | None]" = field(default_factory=Future)

    def show_messages(self) -> None:
        """Say that messages have come: to take them is given more time."""
        self.has_messages, self.patience.seconds = True, TAKING_SECONDS


@dataclass
class _Line:
    """A queue that is open, or is to be opened by the first thread that asks it; one at a time has it."""

    connection: ExitStack = field(default_factory=ExitStack)
    queue: MessageQueue | None = None

    def close(self) -> None:
        """Close what is open; a queue that failed may fail again when it is closed."""
        self.queue = None
        with suppress(GeoAssetsError):
            self.connection.close()


@dataclass
class _Intake:
    """One queue of the tick."""

    rule: QueueRule
    sources: Mapping[str, Source]
    trouble: Trouble | None
    held_back: str | None = None
    taken: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    line: _Line = field(default_factory=_Line)
    asked: _Asked | None = None

    def __str__(self) -> str:
        counts = [f"{self.taken[what]} {what}" for what in _COUNTED if self.taken[what]]
        counts += [f"{number} dropped ({reason})" for reason, number in sorted(self.dropped.items())]
        said = [", ".join(counts) or "no messages", self.held_back, str(self.trouble) if self.trouble else None]
        return f"{self.rule.name}: {'; '.join(part for part in said if part)}"


class Receiver:
    """Receives from ``rules``' queues; use it as a context manager, for it keeps them open.

    ``troubles`` are of earlier ticks, by queue. Messages are settled only when what they tell is committed.
    """

    def __init__(
        self,
        rules: Sequence[QueueRule],
        *,
        sources: Mapping[str, Source],
        troubles: Mapping[str, Trouble],
        message_queues: MessageQueues,
        blob_stores: BlobStores,
        database: Database,
    ) -> None:
        self._intakes = [_Intake(rule, concerned(rule, sources), troubles.get(rule.name)) for rule in rules]
        self._message_queues, self._blob_stores, self._database = message_queues, blob_stores, database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        idle = [intake for intake in self._intakes if intake.asked is None]
        closing = [
            Errand.begin(each.line.close, name=f"close-{each.rule.name}", seconds=_CLOSE_SECONDS) for each in idle
        ]
        collect(closing, seconds=_CLOSE_SECONDS)

    @property
    def troubles(self) -> dict[str, Trouble]:
        """The queues that are unavailable now, with their trouble."""
        return {intake.rule.name: intake.trouble for intake in self._intakes if intake.trouble is not None}

    def reasons(self) -> list[str]:
        """What each queue brought in this tick, or why nothing was received from it."""
        return [str(intake) for intake in self._intakes]

    def turn(self, *, wait: timedelta, outstanding: Mapping[str, int]) -> Turn:
        """Up to one batch of each queue, waiting ``wait`` and a moment more where nothing comes.

        ``outstanding`` is how many blobs of each source waited for a run before this tick. A queue that fails is not
        asked again before its pause is over. One that takes longer goes on, and brings its batch in a later turn.
        """
        for intake in self._intakes:
            if intake.asked is None and self._may_receive(intake, outstanding):
                self._ask(intake, wait)
        return self._collect(seconds=wait.total_seconds() + _SLACK_SECONDS)

    def finish(self) -> Turn:
        """Wait for what is under way, each within its time; nothing new is asked for."""
        turns = [self._collect(seconds=0.0)]
        while any(intake.asked is not None for intake in self._intakes):
            turns.append(self._collect(seconds=_SLACK_SECONDS))
        return Turn(
            open_queues=0,
            messages=sum(turn.messages for turn in turns),
            more=False,
            sources=frozenset[str]().union(*(turn.sources for turn in turns)),
        )

    def _may_receive(self, intake: _Intake, outstanding: Mapping[str, int]) -> bool:
        """Whether its pause is over, nothing hangs on it, and neither of its caps is reached."""
        if intake.trouble is not None and datetime.now(UTC) < intake.trouble.until:
            return False
        if not _left.get(_key(intake.rule), _DONE).done():
            self._note_trouble(intake, _silence(intake))
            return False
        rule, intake.held_back = intake.rule, None
        waiting = sum(outstanding.get(name, 0) for name in intake.sources)
        waiting += intake.taken["new"] + intake.taken["changed"] + intake.taken["deleted"]
        if waiting > rule.max_outstanding:
            intake.held_back = (
                f"nothing more is received while {waiting:,} blobs of its sources wait for a run, "
                f"more than {rule.max_outstanding:,} (max_outstanding)"
            )
        elif intake.taken["messages"] >= rule.max_per_tick:
            intake.held_back = f"continues in the next tick after {rule.max_per_tick:,} messages (max_per_tick)"
        return intake.held_back is None

    def _ask(self, intake: _Intake, patience: timedelta) -> None:
        """Have a thread receive one batch and take it."""
        asked = _Asked(min(intake.rule.batch, intake.rule.max_per_tick - intake.taken["messages"]))
        intake.asked = asked
        receive = partial(self._receive, intake, intake.line, asked, patience)
        asked.batch = start(receive, name=f"queue-{intake.rule.name}")

    def _collect(self, *, seconds: float) -> Turn:
        """What the threads have brought by now, or bring within these seconds."""
        under_way = {
            Errand(intake.asked.batch, intake.asked.patience): (intake, intake.asked)
            for intake in self._intakes
            if intake.asked is not None
        }
        ended, left = collect(under_way, seconds=seconds)
        batches: list[TakenBatch] = []
        more = False
        for errand, (intake, asked) in under_way.items():
            if errand not in ended:
                more = more or asked.has_messages
                if errand in left:
                    self._leave(intake, asked)
                continue
            intake.asked = None
            batch = self._batch(intake, asked)
            if batch is not None:
                batches.append(batch)
                more = more or batch.messages == asked.most
        return Turn(
            open_queues=len(under_way),
            messages=sum(batch.messages for batch in batches),
            more=more,
            sources=frozenset[str]().union(*(batch.sources for batch in batches)),
        )

    def _batch(self, intake: _Intake, asked: _Asked) -> TakenBatch | None:
        """What a thread that ended has brought; None where nothing came, or the queue is in trouble."""
        error = asked.batch.exception()
        if error is not None:
            self._note_trouble(intake, error)
            return None
        batch = asked.batch.result()
        intake.trouble = None
        if batch is None:
            return None
        intake.taken.update({what: getattr(batch, what) for what in _COUNTED})
        intake.dropped.update(batch.dropped)
        if batch.abandoned and batch.unavailable.issuperset(intake.sources):
            self._note_trouble(
                intake,
                StorageUnavailable(
                    f"{batch.abandoned} messages of a batch were given back: no store of its sources answers."
                ),
            )
        return batch

    def _leave(self, intake: _Intake, asked: _Asked) -> None:
        """Let the thread go on alone: what it has received it may still take, and it closes what it has open."""
        self._note_trouble(intake, _silence(intake))
        _left[_key(intake.rule)] = asked.batch
        line = intake.line
        asked.batch.add_done_callback(lambda _: line.close())
        intake.asked, intake.line = None, _Line()

    def _note_trouble(self, intake: _Intake, error: BaseException) -> None:
        if not isinstance(error, GeoAssetsError):
            if not isinstance(error, Exception):
                raise error
            _LOG.error("%s: receiving raised", intake.rule.name, exc_info=error)
            error = QueueUnavailable(f"Receiving from the queue raised {type(error).__name__}: {error}")
        intake.trouble = next_trouble(
            intake.trouble, error, now=datetime.now(UTC), first=FIRST_PAUSE, longest=LONGEST_PAUSE
        )

    def _receive(self, intake: _Intake, line: _Line, asked: _Asked, patience: timedelta) -> TakenBatch | None:
        """One batch, committed and settled; None where nothing came. In a thread of its own."""
        try:
            if intake.trouble is not None:
                self._probe(intake)
            if line.queue is None:
                line.queue = line.connection.enter_context(self._message_queues.open(intake.rule))
            messages = line.queue.receive(asked.most, wait=patience)
            if not messages:
                return None
            asked.show_messages()
            return self._take(intake, line.queue, messages)
        except BaseException:
            line.close()
            raise
        finally:
            close_kept_connection()

    def _take(self, intake: _Intake, queue: MessageQueue, messages: Sequence[Message]) -> TakenBatch:
        try:
            observer = EventObserver(
                queue,
                intake.rule,
                sources=intake.sources,
                blob_stores=self._blob_stores,
                connections=self._database.connections,
            )
            return observer.take(messages)
        except GeoAssetsError:  # what is not settled would come again only when its lock has run out
            with suppress(GeoAssetsError):
                for message in messages:
                    queue.abandon(message)
            raise

    def _probe(self, intake: _Intake) -> None:
        """Ask the database, and whether any store answers, before messages are received again: each delivery counts.

        One store that does not answer is no reason to wait: some are drawn, so that dead ones are not always first.
        """
        self._database.now()
        drawn = random.sample(list(intake.sources.values()), min(_MOST_PROBED, len(intake.sources)))
        if not drawn:
            return
        probes = [start(partial(self._blob_stores.probe, source), name=f"probe-{source.name}") for source in drawn]
        error: BaseException | None = None
        with suppress(TimeoutError):
            for probe in as_completed(probes, timeout=_PROBE_SECONDS):
                if (error := probe.exception()) is None:
                    return
        raise error or StorageUnavailable(f"No store of the queue's sources answers within {_PROBE_SECONDS:.0f} s.")


def concerned(rule: QueueRule, sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources a queue serves, by name: those it names, else every az:// source."""
    return {
        name: source for name, source in sources.items() if (name in rule.sources if rule.sources else source.container)
    }


def all_concerned(rules: Iterable[QueueRule], sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources that any of the queues serves, by name."""
    return {name: source for rule in rules for name, source in concerned(rule, sources).items()}


def _key(rule: QueueRule) -> str:
    return f"{rule.path} {rule.queue}"


def _silence(intake: _Intake) -> QueueUnavailable:
    return QueueUnavailable(f"Queue {intake.rule.queue} does not answer.")


_DONE: "Future[Any]" = Future()
_DONE.set_result(None)
