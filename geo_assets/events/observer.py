"""One batch of messages from a queue into the ledger: an event is a hint, a look at the store says what is true.

Here: the order in which that is safe: read, look, commit, and only then settle each message individually. Not here:
what a message says (`events.blob_events`), which sources it concerns and the looks (`events.looks`), the SQL
(`ledger.events`), how queues settle (`message_queue`), and when to receive (`geo_assets.sensors`).
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from geo_assets.errors import DeliveriesNeverEnded, GeoAssetsError, InvalidConfiguration, MalformedMessage
from geo_assets.events.blob_events import BlobEvent, Dropped, UnreadableEntry, account_of, name_unreadable, read_events
from geo_assets.events.looks import EventRouter, Look, Looked, Sight, look_at_all
from geo_assets.events.message_queue import MessageQueue
from geo_assets.ledger.database import Connections
from geo_assets.ledger.decisions import DeletionLedger
from geo_assets.ledger.events import EventBatch, EventLedger, Observed, Poison, Sighting
from geo_assets.models import BlobRef, Message
from geo_assets.sources.rules import QueueRule
from geo_assets.sources.source import Source
from geo_assets.storage.blob_stores import Stores

FIRST_IDS = 10
LEFT_TO_LISTING = "left_to_listing"
"""Why an event is dropped that is of a Zarr store with more blobs than a look lists: a listing is asked for."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TakenBatch:
    """The result of one batch of messages.

    ``new``, ``changed``, ``deleted`` and ``unchanged`` count blobs of ``events``, ``dropped`` events by reason;
    ``redelivered``, ``abandoned`` and ``poisoned`` count messages. ``sources`` are those with something new, changed
    or deleted, or to be listed; ``unavailable`` those whose store answered nothing; and ``correlation_ids`` the first
    ten of what is new by source.
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
    unavailable: frozenset[str] = frozenset()
    correlation_ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Letter:
    """A message as far as it was read: what to check for its events, and what is wrong with it."""

    message: Message
    events: list[tuple[BlobEvent, tuple[Look, ...]]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    unreadable: list[UnreadableEntry] = field(default_factory=list)
    error: GeoAssetsError | None = None

    @property
    def looks(self) -> Iterator[Look]:
        """What to check: nothing for a message that is already dead-lettered."""
        return (look for _, looks in (self.events if self.error is None else ()) for look in looks)

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
        blob_stores: Stores,
        connections: Connections,
    ) -> None:
        self._queue = queue
        self._rule = rule
        self._sources = {name: source for name, source in sources.items() if name in (rule.sources or sources)}
        self._blob_stores = blob_stores
        self._connections = connections
        self._events, self._deletions = EventLedger(connections), DeletionLedger(connections)
        self._router = EventRouter(self._sources, account=_account(blob_stores.azure_account_url()))

    def take(self, messages: Sequence[Message]) -> TakenBatch:
        """Check the blobs that the messages name, commit the result, then settle each message individually.

        A message that says nothing becomes a dead letter at once, and so does one of which some entries cannot be
        read when the others are done, and one that comes again though its last allowed delivery never ended. One whose
        store does not answer goes back to the queue, and becomes a dead letter when it was delivered as often as the
        rule allows. All others are completed.
        Raises DatabaseUnavailable where nothing was committed or settled, and what the queue raises: whatever is not
        settled then is delivered again, and changes nothing the second time.
        """
        if not messages:
            return TakenBatch()
        looked_at = self._connections.now()
        letters = [self._read(message) for message in messages]
        looked = look_at_all(
            {look for letter in letters for look in letter.looks}, sources=self._sources, blob_stores=self._blob_stores
        )
        for letter in letters:
            letter.error = letter.error or _error(letter, looked)
        poisoned = [letter for letter in letters if self._is_poison(letter)]
        abandoned = [letter for letter in letters if letter.error is not None and not self._is_poison(letter)]
        dropped = [drop for letter in letters for drop in letter.dropped]
        left = _left(letters, looked)
        batch = EventBatch(
            path=self._queue.path,
            queue=self._queue.name,
            looked_at=looked_at,
            messages=len(letters),
            events=sum(len(letter.events) + len(letter.dropped) for letter in letters),
            redelivered=sum(letter.message.delivery_count > 1 for letter in letters),
            abandoned=len(abandoned),
            sightings=self._sightings(letters, looked),
            poisoned=[_poison(letter) for letter in poisoned],
            dropped=Counter(drop.reason for drop in [*dropped, *left]),
            to_list=frozenset(look.source for look in looked.left),
        )
        concerned = {sighting.source for sighting in batch.sightings} | batch.to_list
        number, observed = self._events.record_events(batch, [self._sources[name] for name in sorted(concerned)])
        for source in sorted({each.source for each in observed if each.outcome == "deleted"}):
            self._deletions.record_renames(self._sources[source], run_id=None)
        _log(observed, dropped, left, [*poisoned, *abandoned])
        dead_letters = self._settle(letters, abandoned, poisoned)
        self._events.settle_batch(batch, number, dead_letters=dead_letters)
        return _taken(batch, observed, looked.down)

    def _read(self, message: Message) -> _Letter:
        letter = _Letter(message)
        try:
            events = read_events(message.body)
        except MalformedMessage as error:
            letter.error = error
            return letter
        for event in events:
            if isinstance(event, UnreadableEntry):
                letter.unreadable.append(event)
                continue
            looks = event if isinstance(event, Dropped) else self._router.route(event)
            if isinstance(looks, Dropped):
                letter.dropped.append(looks)
            elif isinstance(event, BlobEvent):
                letter.events.append((event, looks))
        if message.delivery_count > self._rule.max_attempts:
            letter.error = DeliveriesNeverEnded(
                f"The message was delivered {message.delivery_count - 1} times, and its last delivery never ended: "
                "the process that received it was stopped or died."
            )
        return letter

    def _sightings(self, letters: Iterable[_Letter], looked: Looked) -> list[Sighting]:
        found = {
            look: [each for each in sight if self._router.matcher(look.source)(each[0])]
            for look, sight in looked.found.items()
        }
        return _sightings(letters, found)

    def _is_poison(self, letter: _Letter) -> bool:
        if letter.error is None:
            return False
        given_up = isinstance(letter.error, MalformedMessage | DeliveriesNeverEnded)
        return given_up or letter.message.delivery_count >= self._rule.max_attempts

    def _settle(
        self, letters: Sequence[_Letter], abandoned: Sequence[_Letter], poisoned: Sequence[_Letter]
    ) -> dict[str, str]:
        """Settle all, those that are done first: whatever fails afterwards, they are off. Dead letters by their ids."""
        done = [letter.message for letter in letters if letter.error is None]
        if done and (unsure := self._queue.complete(done)):
            _LOG.info(
                "%s: %d messages may come again, because their acknowledgement is not confirmed",
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


def _account(url: str) -> str:
    try:
        return account_of(url)
    except MalformedMessage as error:
        raise InvalidConfiguration(
            f"{url} is not the address of a storage account.", remedy="Correct AZURE_STORAGE_ACCOUNT_URL."
        ) from error


def _error(letter: _Letter, looked: Looked) -> GeoAssetsError | None:
    """What is wrong with the message after the looks: a look that failed, else entries that cannot be read."""
    failed = next((looked.failed[look] for look in letter.looks if look in looked.failed), None)
    if failed is None and letter.unreadable:
        return MalformedMessage(name_unreadable(letter.unreadable))
    return failed


def _left(letters: Iterable[_Letter], looked: Looked) -> list[Dropped]:
    """The events of which nothing is taken in, since a listing will find what they reported."""
    return [
        Dropped(LEFT_TO_LISTING, f"{event.name} is in a store too large to check; its source will be listed")
        for letter in letters
        for event, looks in letter.events
        if looks and looked.left.issuperset(looks)
    ]


def _poison(letter: _Letter) -> Poison:
    assert letter.error is not None
    return Poison(letter.message, letter.correlation_id(), letter.error.code, letter.error.message)


def _sightings(letters: Iterable[_Letter], found: Mapping[Look, Sight]) -> list[Sighting]:
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


def _log(
    observed: Iterable[Observed], dropped: Iterable[Dropped], left: Iterable[Dropped], failed: Iterable[_Letter]
) -> None:
    for each in observed:
        if each.outcome != "unchanged":
            _LOG.info("%s: %s is %s (correlation id %s)", each.source, each.name, each.outcome, each.correlation_id)
    for drop in dropped:
        _LOG.debug("dropped, %s: %s", drop.reason, drop.detail)
    for drop in left:
        _LOG.info("%s: %s", drop.reason, drop.detail)
    for letter in failed:
        _LOG.warning(
            "message %s, delivery %d (correlation id %s): %s",
            letter.message.message_id,
            letter.message.delivery_count,
            letter.correlation_id(),
            letter.error,
        )


def _taken(batch: EventBatch, observed: Sequence[Observed], down: Collection[str]) -> TakenBatch:
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
        sources=frozenset(ids) | batch.to_list,
        unavailable=frozenset(down),
        correlation_ids={source: tuple(of_source)[:FIRST_IDS] for source, of_source in ids.items()},
    )
