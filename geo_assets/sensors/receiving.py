"""Receiving from several queues within one tick: by turns, one batch each, so that none keeps another waiting.

Here: caps, back-pressure, and the pause of a queue that does not serve. Not here: what becomes of a batch
(`geo_assets.resources.event_observer`), what follows for runs (`queues`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from geo_assets.core.trouble import Trouble, next_trouble
from geo_assets.errors import GeoAssetsError, StorageUnavailable
from geo_assets.queue_rules import QueueRule
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.event_observer import EventObserver, TakenBatch
from geo_assets.resources.ledger import Ledger
from geo_assets.resources.message_queue import MessageQueue
from geo_assets.resources.message_queues import MessageQueues
from geo_assets.sources import Source

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=1)
"""Of a queue that does not serve."""
_COUNTED = ("messages", "new", "changed", "deleted", "unchanged", "redelivered", "abandoned", "poisoned")


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
class _Intake:
    """One queue of the tick."""

    rule: QueueRule
    sources: Mapping[str, Source]
    trouble: Trouble | None
    held_back: str | None = None
    taken: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    connection: ExitStack = field(default_factory=ExitStack)
    queue: MessageQueue | None = None

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
        ledger: Ledger,
    ) -> None:
        self._intakes = [_Intake(rule, concerned(rule, sources), troubles.get(rule.name)) for rule in rules]
        self._message_queues, self._blob_stores, self._ledger = message_queues, blob_stores, ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for intake in self._intakes:
            self._close(intake)

    @property
    def troubles(self) -> dict[str, Trouble]:
        """What does not serve now, by queue."""
        return {intake.rule.name: intake.trouble for intake in self._intakes if intake.trouble is not None}

    def reasons(self) -> list[str]:
        """What each queue brought in this tick, or why nothing was received from it."""
        return [str(intake) for intake in self._intakes]

    def turn(self, *, wait: timedelta, outstanding: Mapping[str, int]) -> Turn:
        """Up to one batch of each queue, waiting ``wait`` in all where nothing comes.

        ``outstanding`` is how many blobs of each source waited for a run before this tick. A queue that fails is not
        asked again before its pause is over, and keeps no other from its turn.
        """
        ready = [intake for intake in self._intakes if self._may_receive(intake, outstanding)]
        batches: list[TakenBatch] = []
        more = False
        for intake in ready:
            try:
                most = min(intake.rule.batch, intake.rule.most_a_tick - intake.taken["messages"])
                batch = self._receive(intake, most, wait=wait / len(ready))
            except GeoAssetsError as error:
                self._close(intake)
                intake.trouble = next_trouble(
                    intake.trouble, error, now=datetime.now(UTC), first=FIRST_PAUSE, longest=LONGEST_PAUSE
                )
                continue
            intake.trouble = None
            if batch is not None:
                batches.append(batch)
                more = more or batch.messages == most
        return Turn(
            open_queues=len(ready),
            messages=sum(batch.messages for batch in batches),
            more=more,
            sources=frozenset[str]().union(*(batch.sources for batch in batches)),
        )

    def _may_receive(self, intake: _Intake, outstanding: Mapping[str, int]) -> bool:
        """Whether its pause is over, and neither of its caps is reached."""
        if intake.trouble is not None and datetime.now(UTC) < intake.trouble.until:
            return False
        rule, intake.held_back = intake.rule, None
        waiting = sum(outstanding.get(name, 0) for name in intake.sources)
        waiting += intake.taken["new"] + intake.taken["changed"] + intake.taken["deleted"]
        if waiting > rule.most_outstanding:
            intake.held_back = (
                f"nothing more is received while {waiting:,} blobs of its sources wait for a run, "
                f"more than {rule.most_outstanding:,} (most_outstanding)"
            )
        elif intake.taken["messages"] >= rule.most_a_tick:
            intake.held_back = f"the next tick goes on after {rule.most_a_tick:,} messages (most_a_tick)"
        return intake.held_back is None

    def _receive(self, intake: _Intake, most: int, *, wait: timedelta) -> TakenBatch | None:
        """One batch, committed and settled; None where nothing came."""
        if intake.trouble is not None:
            self._probe(intake)
        if intake.queue is None:
            intake.queue = intake.connection.enter_context(self._message_queues.open(intake.rule))
        messages = intake.queue.receive(most, wait=wait)
        if not messages:
            return None
        observer = EventObserver(
            intake.queue, intake.rule, sources=intake.sources, blob_stores=self._blob_stores, ledger=self._ledger
        )
        try:
            batch = observer.take(messages)
        except GeoAssetsError:  # what is not settled would come again only when its lock has run out
            with suppress(GeoAssetsError):
                for message in messages:
                    intake.queue.abandon(message)
            raise
        intake.taken.update({what: getattr(batch, what) for what in _COUNTED})
        intake.dropped.update(batch.dropped)
        if batch.abandoned and not batch.new + batch.changed + batch.deleted + batch.unchanged:
            raise StorageUnavailable(
                f"all {batch.abandoned} messages of a batch were given back: none of their blobs could be looked at."
            )
        return batch

    def _probe(self, intake: _Intake) -> None:
        """Ask database and stores once before messages are received again: each delivery counts as one of its tries."""
        self._ledger.now()
        for source in intake.sources.values():
            self._blob_stores.probe(source)

    def _close(self, intake: _Intake) -> None:
        intake.queue = None
        with suppress(GeoAssetsError):  # a queue that failed may fail again when it is closed
            intake.connection.close()


def concerned(rule: QueueRule, sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources a queue serves, by name: those it names, else every az:// source."""
    return {
        name: source for name, source in sources.items() if (name in rule.sources if rule.sources else source.container)
    }


def all_concerned(rules: Iterable[QueueRule], sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources that any of the queues serves, by name."""
    return {name: source for rule in rules for name, source in concerned(rule, sources).items()}
