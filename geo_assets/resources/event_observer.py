"""One batch of messages from a queue into the ledger: an event is a hint, a look at the store says what is true.

Here: the order in which that is safe: read, look, commit, and only then settle each message by itself. Not here: what
a message says (`core.events`), which sources it concerns (`core.event_routing`), the looks (`container_look`), the
SQL (`event_ledger`), how queues settle (`message_queue`), and when to receive (`geo_assets.sensors`).
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from geo_assets.core.event_routing import EventRouter, Look
from geo_assets.core.events import BlobEvent, Dropped, read_events
from geo_assets.errors import GeoAssetsError, MalformedMessage
from geo_assets.models import BlobRef
from geo_assets.queue_rules import QueueRule
from geo_assets.resources.blob_store import BlobStore
from geo_assets.resources.blob_stores import BlobStores
from geo_assets.resources.container_look import by_stem, group_names, look_at
from geo_assets.resources.event_ledger import EventBatch, Observed, Poison, Sighting
from geo_assets.resources.ledger import Ledger
from geo_assets.resources.message_queue import Message, MessageQueue
from geo_assets.sources import Source

LOOKS_AT_ONCE = 8
"""Requests to one store at a time: as many connections as the SDK keeps open, with room to spare."""
FIRST_IDS = 10
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TakenBatch:
    """What became of one batch of messages.

    ``new``, ``changed``, ``deleted`` and ``unchanged`` count blobs of ``events``, ``dropped`` events by reason;
    ``redelivered``, ``abandoned`` and ``poisoned`` count messages. ``sources`` are those with something new, changed
    or deleted, and ``correlation_ids`` the first ten of it by source.
    """

    messages: int = 0
    events: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    redelivered: int = 0
    abandoned: int = 0
    poisoned: int = 0
    sources: frozenset[str] = frozenset()
    correlation_ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Letter:
    """A message as far as it was read: what is to be looked at for its events, and what stands against it."""

    message: Message
    events: list[tuple[BlobEvent, tuple[Look, ...]]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    error: GeoAssetsError | None = None

    @property
    def looks(self) -> Iterator[Look]:
        return (look for _, looks in self.events for look in looks)

    def correlation_id(self, event: BlobEvent | None = None) -> str | None:
        """What the sender gave the message, else what the event says."""
        events = [event] if event else [event for event, _ in self.events]
        return self.message.correlation_id or next((each.correlation_id for each in events), None)


class EventObserver:
    """Takes messages of one queue into the ledger, for the sources that the queue serves."""

    def __init__(
        self,
        queue: MessageQueue,
        rule: QueueRule,
        *,
        sources: Mapping[str, Source],
        blob_stores: BlobStores,
        ledger: Ledger,
    ) -> None:
        self._queue = queue
        self._rule = rule
        self._sources = {name: source for name, source in sources.items() if name in (rule.sources or sources)}
        self._blob_stores = blob_stores
        self._ledger = ledger
        self._router = EventRouter(self._sources, account=blob_stores.azure_account())

    def take(self, messages: Sequence[Message]) -> TakenBatch:
        """Look at what the messages tell of, commit it to the ledger, then settle each message by itself.

        A message that says nothing becomes a dead letter at once; one whose store does not answer goes back to the
        queue, and becomes a dead letter when it was delivered as often as the rule allows. All others are completed.
        Raises DatabaseUnavailable where nothing was committed or settled, and what the queue raises: whatever is not
        settled then is delivered again, and changes nothing the second time.
        """
        if not messages:
            return TakenBatch()
        looked_at = self._ledger.now()
        letters = [self._read(message) for message in messages]
        found, failed = self._look({look for letter in letters for look in letter.looks})
        for letter in letters:
            letter.error = letter.error or next((failed[look] for look in letter.looks if look in failed), None)
        poisoned = [letter for letter in letters if self._is_poison(letter)]
        abandoned = [letter for letter in letters if letter.error is not None and not self._is_poison(letter)]
        dropped = [drop for letter in letters for drop in letter.dropped]
        batch = EventBatch(
            path=self._queue.path,
            queue=self._queue.name,
            looked_at=looked_at,
            messages=len(letters),
            events=sum(len(letter.events) + len(letter.dropped) for letter in letters),
            redelivered=sum(letter.message.delivery_count > 1 for letter in letters),
            abandoned=len(abandoned),
            sightings=_sightings(letters, found),
            poisoned=[_poison(letter) for letter in poisoned],
            dropped=Counter(drop.reason for drop in dropped),
        )
        concerned = {sighting.source for sighting in batch.sightings}
        number, observed = self._ledger.record_events(batch, [self._sources[name] for name in sorted(concerned)])
        for source in sorted({each.source for each in observed if each.outcome == "deleted"}):
            self._ledger.record_renames(self._sources[source], run_id=None)
        _log(observed, dropped, [*poisoned, *abandoned])
        dead_letters = self._settle(letters, abandoned, poisoned)
        self._ledger.settle_batch(batch, number, dead_letters=dead_letters)
        return _taken(batch, observed)

    def _read(self, message: Message) -> _Letter:
        letter = _Letter(message)
        try:
            events = read_events(message.body)
        except MalformedMessage as error:
            letter.error = error
            return letter
        for event in events:
            looks = event if isinstance(event, Dropped) else self._router.route(event)
            if isinstance(looks, Dropped):
                letter.dropped.append(looks)
            elif isinstance(event, BlobEvent):
                letter.events.append((event, looks))
        return letter

    def _look(
        self, looks: Iterable[Look]
    ) -> tuple[dict[Look, Sequence[tuple[str, BlobRef | None]]], dict[Look, GeoAssetsError]]:
        """Look at each of them once, concurrently; what was found, and where a store failed, why."""
        found: dict[Look, Sequence[tuple[str, BlobRef | None]]] = {}
        failed: dict[Look, GeoAssetsError] = {}
        by_source: dict[str, list[str]] = defaultdict(list)
        for look in looks:
            by_source[look.source].append(look.name)
        for source, names in sorted(by_source.items()):
            matches = self._router.matcher(source)
            try:
                with self._blob_stores.open(self._sources[source]) as store:
                    answers = self._look_at_source(self._sources[source], store, names)
            except GeoAssetsError as error:
                failed |= {Look(source, name): error for name in names}
                continue
            for name, answer in answers.items():
                if isinstance(answer, GeoAssetsError):
                    failed[Look(source, name)] = answer
                else:
                    found[Look(source, name)] = [sight for sight in answer if matches(sight[0])]
        return found, failed

    def _look_at_source(
        self, source: Source, store: BlobStore, names: Sequence[str]
    ) -> dict[str, Sequence[tuple[str, BlobRef | None]] | GeoAssetsError]:
        answers: dict[str, Sequence[tuple[str, BlobRef | None]] | GeoAssetsError] = {}
        down: list[GeoAssetsError] = []

        def look(group: Sequence[str]) -> list[list[str]]:
            if down:
                answers.update(dict.fromkeys(group, down[0]))
                return []
            try:
                found, smaller = look_at(store, group)
            except GeoAssetsError as error:
                try:  # is it the store, or one of these names?
                    self._blob_stores.probe(source)
                except GeoAssetsError as away:
                    down.append(away)
                if not down and len(alone := by_stem(group)) > 1:
                    return alone
                answers.update(dict.fromkeys(group, error))
                return []
            answers.update(found)
            return smaller

        with ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="look") as threads:
            groups = group_names(names)
            while groups:
                groups = [group for smaller in threads.map(look, groups) for group in smaller]
        return answers

    def _is_poison(self, letter: _Letter) -> bool:
        if letter.error is None:
            return False
        return isinstance(letter.error, MalformedMessage) or letter.message.delivery_count >= self._rule.tries

    def _settle(
        self, letters: Sequence[_Letter], abandoned: Sequence[_Letter], poisoned: Sequence[_Letter]
    ) -> dict[str, str]:
        """Settle all, those that are done first: whatever fails afterwards, they are off. Dead letters by their ids."""
        done = [letter.message for letter in letters if letter.error is None]
        if done and (unsure := self._queue.complete(done)):
            _LOG.info(
                "%s: %d messages may come again, for it is not known that they are off",
                self._rule.name,
                len(unsure),
            )
        for letter in abandoned:
            self._queue.abandon(letter.message)
        dead: dict[str, str] = {}
        for letter in poisoned:
            assert letter.error is not None
            dead[letter.message.message_id] = self._queue.dead_letter(
                letter.message, reason=letter.error.code, description=str(letter.error)
            )
        return dead


def _poison(letter: _Letter) -> Poison:
    assert letter.error is not None
    return Poison(letter.message, letter.correlation_id(), letter.error.code, letter.error.message)


def _sightings(
    letters: Iterable[_Letter], found: Mapping[Look, Sequence[tuple[str, BlobRef | None]]]
) -> list[Sighting]:
    """One sighting a blob, with what the events of all messages say of it."""
    told: dict[tuple[str, str], list[tuple[BlobEvent, str | None]]] = defaultdict(list)
    blobs: dict[tuple[str, str], BlobRef | None] = {}
    for letter in letters:
        for event, looks in letter.events:
            for look in looks:
                for name, blob in found.get(look, ()):
                    told[look.source, name].append((event, letter.correlation_id(event)))
                    blobs[look.source, name] = blob
    return [_sighting(source, name, blob, told[source, name]) for (source, name), blob in blobs.items()]


def _sighting(source: str, name: str, blob: BlobRef | None, told: Sequence[tuple[BlobEvent, str | None]]) -> Sighting:
    """Of several events the one that announced the version that is there, else the newest.

    Where that one announced another version, the present one came to be when the store says so.
    """

    def fits(event: BlobEvent) -> bool:
        return blob is not None and event.name == name and event.etag == blob.own_etag

    event, correlation_id = max(told, key=lambda each: (fits(each[0]), each[0].event_time, each[0].sequencer or ""))
    announced_other = blob is not None and event.name == name and event.etag is not None and not fits(event)
    return Sighting(
        source=source,
        name=name,
        blob=blob,
        event_time=blob.last_modified if blob is not None and announced_other else event.event_time,
        correlation_id=correlation_id,
        sequencer=max((each.sequencer for each, _ in told if each.sequencer and each.name == name), default=None),
    )


def _log(observed: Iterable[Observed], dropped: Iterable[Dropped], failed: Iterable[_Letter]) -> None:
    for each in observed:
        if each.outcome != "unchanged":
            _LOG.info("%s: %s is %s (correlation id %s)", each.source, each.name, each.outcome, each.correlation_id)
    for drop in dropped:
        _LOG.debug("dropped, %s: %s", drop.reason, drop.detail)
    for letter in failed:
        _LOG.warning(
            "message %s, delivery %d (correlation id %s): %s",
            letter.message.message_id,
            letter.message.delivery_count,
            letter.correlation_id(),
            letter.error,
        )


def _taken(batch: EventBatch, observed: Sequence[Observed]) -> TakenBatch:
    counts = Counter(each.outcome for each in observed)
    ids: dict[str, dict[str, None]] = defaultdict(dict)
    for each in observed:
        if each.outcome != "unchanged":
            ids[each.source].update({each.correlation_id: None} if each.correlation_id else {})
    return TakenBatch(
        messages=batch.messages,
        events=batch.events,
        new=counts["new"],
        changed=counts["changed"],
        deleted=counts["deleted"],
        unchanged=counts["unchanged"],
        dropped=dict(batch.dropped),
        redelivered=batch.redelivered,
        abandoned=batch.abandoned,
        poisoned=len(batch.poisoned),
        sources=frozenset(ids),
        correlation_ids={source: tuple(of_source)[:FIRST_IDS] for source, of_source in ids.items()},
    )
