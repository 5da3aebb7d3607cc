"""Events in the ledger: what was seen of the blobs they reported, what a queue brought, and dead letters.

Here: what writes `ledger.blob` from events, `ledger.received_batch` and `ledger.message`. Not here: receiving and
settling messages (`events.observer`), listings (`ledger.listings`). docs/decisions/0011-events.md says why an older
look never undoes a newer one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import stamina
from psycopg.types.json import Jsonb

from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.ledger.scenes import group_named
from geo_assets.ledger.sources import SourceLedger
from geo_assets.models import BlobRef, Channel, Message
from geo_assets.sources.source import Source

GIVE_WAY_AFTER_MS = 500
"""How long a batch of events waits for a row: less than the second after which PostgreSQL looks for a deadlock and may
stop the other one, which is a run or a listing."""
_TRIES = 20
_BODY_START = 1000


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look found of a blob that an event reported; ``blob`` is None where it is gone.

    ``event_time`` is when the version came to be.
    """

    source: str
    name: str
    blob: BlobRef | None
    event_time: datetime
    correlation_id: str | None
    sequencer: str | None


@dataclass(frozen=True, slots=True)
class Poison:
    """A dead letter, and why it is one."""

    message: Message
    correlation_id: str | None
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What one batch of messages says: ``looked_at`` is a time of the database before any look at a store.

    ``to_list`` are sources of which a listing has to see what was too much for a look.
    """

    path: Channel
    queue: str
    looked_at: datetime
    messages: int
    events: int
    redelivered: int
    abandoned: int
    sightings: Sequence[Sighting] = ()
    poisoned: Sequence[Poison] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    to_list: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Observed:
    """What the ledger made of one sighting: ``outcome`` is new, changed, deleted or unchanged."""

    source: str
    name: str
    correlation_id: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class StandingPoison:
    """The dead letters of one queue that wait for a person, with what the ``latest`` of them says."""

    path: str
    queue: str
    messages: int
    latest: int
    error_code: str
    error_message: str
    correlation_id: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class EventLedger:
    """The part of the ledger that events go through."""

    connections: Connections

    def record_events(self, batch: EventBatch, sources: Iterable[Source]) -> tuple[int, list[Observed]]:
        """Take a batch in, in one transaction; its number, and what each sighting was to the ledger.

        ``sources`` are those of the sightings and those to be listed; they are registered. Blobs are grouped into
        scenes in the same transaction. Where rows are locked by another, this one gives way and tries again.
        """
        registered = {source.name: source for source in sources}
        for source in registered.values():
            SourceLedger(self.connections).register(source)
        retries = stamina.retry_context(
            on=(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected),
            attempts=_TRIES,
            wait_initial=0.02,
            wait_max=0.5,
            timeout=None,
        )
        with self.connections.borrow() as connection:
            for attempt in retries:
                with attempt, connection.transaction():
                    return write_batch(connection, batch, registered)
        raise AssertionError("unreachable: stamina raises or returns")

    def settle_batch(self, batch: EventBatch, number: int, *, dead_letters: Mapping[str, str]) -> None:
        """Note that every message of the batch was settled; ``dead_letters``: their ids in the dead-letter queue."""
        with self.connections.borrow() as connection:
            connection.execute(
                read_sql("settle_batch"),
                {
                    "batch_id": number,
                    "path": batch.path,
                    "queue": batch.queue,
                    "message_ids": list(dead_letters),
                    "dead_letter_ids": list(dead_letters.values()),
                },
            )

    def poison(self) -> list[StandingPoison]:
        """The dead letters that were neither replayed nor dropped, by queue."""
        return [StandingPoison(**row) for row in self.connections.rows("select_poison")]


def write_batch(connection: Connection, batch: EventBatch, sources: Mapping[str, Source]) -> tuple[int, list[Observed]]:
    """Write all that a batch tells in the transaction of the caller; the number of the batch, and what was seen."""
    connection.execute(f"SET LOCAL lock_timeout = {GIVE_WAY_AFTER_MS}")
    connection.execute(read_sql("look_up_by_key"))
    rows = connection.execute(read_sql("merge_sightings"), _sighting_values(batch), prepare=False).fetchall()
    observed = [Observed(**row) for row in rows]
    _group_arrived(connection, batch, sources, observed)
    counts = Counter(each.outcome for each in observed)
    row = connection.execute(
        read_sql("record_batch"),
        {
            "path": batch.path,
            "queue": batch.queue,
            "received_at": batch.looked_at,
            "messages": batch.messages,
            "events": batch.events,
            **{outcome: counts[outcome] for outcome in ("new", "changed", "deleted", "unchanged")},
            "dropped": Jsonb(dict(batch.dropped)),
            "redelivered": batch.redelivered,
            "abandoned": batch.abandoned,
            "poisoned": len(batch.poisoned),
        },
    ).fetchone()
    assert row is not None
    if batch.to_list:
        connection.execute(
            read_sql("ask_for_listing"), {"sources": sorted(batch.to_list), "looked_at": batch.looked_at}
        )
    if batch.poisoned:
        connection.execute(read_sql("record_messages"), _poison_values(batch))
    return row["id"], observed


def _group_arrived(
    connection: Connection, batch: EventBatch, sources: Mapping[str, Source], observed: Iterable[Observed]
) -> None:
    """Blobs of a source that makes scenes are never seen without theirs: a run may be under way."""
    etags = {(each.source, each.name): each.blob.etag for each in batch.sightings if each.blob is not None}
    arrived: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in observed:
        if each.outcome in ("new", "changed") and sources[each.source].group is not None:
            arrived[each.source].append((each.name, etags[each.source, each.name]))
    for source, blobs in sorted(arrived.items()):
        group_named(connection, sources[source], blobs, run_id=None)


def _sighting_values(batch: EventBatch) -> dict[str, Any]:
    seen = batch.sightings
    return {
        "looked_at": batch.looked_at,
        "path": batch.path,
        "sources": [each.source for each in seen],
        "names": [each.name for each in seen],
        "etags": [each.blob and each.blob.etag for each in seen],
        "sizes": [each.blob and each.blob.size_bytes for each in seen],
        "last_modified": [each.blob and each.blob.last_modified for each in seen],
        "content_types": [each.blob and each.blob.content_type for each in seen],
        "md5s": [each.blob and each.blob.md5 for each in seen],
        "event_times": [each.event_time for each in seen],
        "correlation_ids": [each.correlation_id for each in seen],
        "sequencers": [each.sequencer for each in seen],
    }


def _poison_values(batch: EventBatch) -> dict[str, Any]:
    return {
        "path": batch.path,
        "queue": batch.queue,
        "message_ids": [each.message.message_id for each in batch.poisoned],
        "correlation_ids": [each.correlation_id for each in batch.poisoned],
        "delivery_counts": [each.message.delivery_count for each in batch.poisoned],
        "enqueued_at": [each.message.enqueued_at for each in batch.poisoned],
        "error_codes": [each.code for each in batch.poisoned],
        "error_messages": [each.reason.replace("\0", " ")[:2000] for each in batch.poisoned],
        "body_starts": [
            each.message.body.decode(errors="replace").replace("\0", "\ufffd")[:_BODY_START] for each in batch.poisoned
        ],
    }
