"""The dead letters of a queue, with why the ledger says they are there; putting them back, and dropping them.

Here: what people ask of them. Not here: giving a message up (`geo_assets.events.observer`), and the queues.
"""

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import DictRow

from geo_assets.errors import MalformedMessage
from geo_assets.events.blob_events import pick_entries, unreadable_entries
from geo_assets.events.message_queue import DeadLetter, MessageQueue
from geo_assets.ledger.database import Connections
from geo_assets.models import Message
from geo_assets.sources.rules import QueueRule

MOST_RECORDS = 100_000
MOST_SHOWN = 32  # by a Storage Queue
BODY_CHARACTERS = 1000  # of a message's start, in the ledger


@dataclass(frozen=True, slots=True)
class SetAside:
    """One message set aside: a dead letter, its record in the ledger, or, as a rule, both.

    ``message_id`` is the dead letter's. ``seen`` says whether it was among the dead letters looked at, of which a
    Storage Queue shows 32. ``body`` is as it lay in the queue, of a message not seen its first 1,000 characters.
    ``code`` is None if the service itself dead-lettered the message.
    """

    queue: str
    message_id: str
    code: str | None = None
    reason: str | None = None
    correlation_id: str | None = None
    delivery_count: int = 0
    enqueued_at: datetime | None = None
    recorded_at: datetime | None = None
    seen: bool = False
    body: bytes = b""
    record: int | None = None
    changed_at: datetime | None = None


Outcome = Literal["replayed", "dropped", "missing"]


@dataclass(frozen=True, slots=True)
class SetAsideRecords:
    """What the ledger knows of dead letters."""

    connections: Connections

    def of(self, rule: QueueRule, *, most: int = MOST_RECORDS) -> list[DictRow]:
        """The messages of a queue that neither were replayed nor dropped, the longest there first."""
        return self.connections.rows("select_set_aside", path=rule.path, queue=rule.queue, most=most)

    def mark(self, message: SetAside, state: Literal["replayed", "dropped"]) -> None:
        """Record the result for the message, unless it was dead-lettered again since it was read."""
        if message.record is not None:
            self.connections.rows("mark_message", record=message.record, changed_at=message.changed_at, state=state)


class DeadLetterBox:
    """The dead letters of one queue."""

    def __init__(self, rule: QueueRule, queue: MessageQueue, records: SetAsideRecords) -> None:
        self._rule = rule
        self._queue = queue
        self._records = records

    def messages(self, *, most: int) -> list[SetAside]:
        """What the queue shows of its first ``most`` dead letters, then what only the ledger knows.

        Raises QueueUnavailable and DatabaseUnavailable.
        """
        records = _Records(self._records.of(self._rule))
        letters = self._queue.dead_letters(most)
        seen = [self._letter(letter, records.take(letter.message)) for letter in letters]
        return seen + [self._recorded(row) for row in records.left]

    def find(self, message_id: str, *, most: int) -> SetAside:
        """The message of this id; with nothing but the id where neither the queue's first ones nor the ledger have it.

        The queue may hold it all the same, further back.
        """
        found = (message for message in self.messages(most=most) if message.message_id == message_id)
        return next(found, None) or SetAside(self._rule.name, message_id)

    def replay(self, message: SetAside) -> Outcome:
        """Put the message back into its queue, with those of its entries that were dead-lettered.

        One that is missing keeps its record, since its place is unknown.
        """
        entries = unreadable_entries(message.reason or "") if message.code == MalformedMessage.code else frozenset()
        if not self._queue.replay(message.message_id, rewrite=lambda body: pick_entries(body, entries)):
            return "missing"
        self._records.mark(message, "replayed")
        return "replayed"

    def drop(self, message: SetAside) -> Outcome:
        """Delete the message. The record of one that is gone already is settled by this too."""
        if not self._queue.drop(message.message_id) and (message.record is None or not self._shows_all()):
            return "missing"
        self._records.mark(message, "dropped")
        return "dropped"

    def _shows_all(self) -> bool:
        """Whether a Storage Queue has no more dead letters than it shows: else a record's may lie behind them."""
        return self._queue.path != "storage_queue" or len(self._queue.dead_letters(MOST_SHOWN)) < MOST_SHOWN

    def _letter(self, letter: DeadLetter, row: DictRow | None) -> SetAside:
        message = letter.message
        if row is not None:
            return replace(self._recorded(row), message_id=message.message_id, seen=True, body=message.body)
        return SetAside(
            queue=self._rule.name,
            message_id=message.message_id,
            code=letter.reason,
            reason=letter.description,
            correlation_id=message.correlation_id,
            delivery_count=message.delivery_count,
            enqueued_at=message.enqueued_at,
            seen=True,
            body=message.body,
        )

    def _recorded(self, row: DictRow) -> SetAside:
        shared: dict[str, Any] = {key: value for key, value in row.items() if key not in ("body_start", "state")}
        return SetAside(queue=self._rule.name, seen=False, body=str(row["body_start"]).encode(), **shared)


class _Records:
    """The ledger's records of a queue, each taken once.

    A Storage Queue gives a dead letter an id of its own. Where a crash kept it from the ledger, the record is found by
    how the message begins.
    """

    def __init__(self, rows: Sequence[DictRow]) -> None:
        self.left = list(rows)

    def take(self, message: Message) -> DictRow | None:
        """The record of this dead letter, by its id or else by its body."""
        start = message.body.decode(errors="replace").replace("\0", "\ufffd")[:BODY_CHARACTERS]
        by_id = (row for row in self.left if row["message_id"] == message.message_id)
        by_body = (row for row in self.left if row["body_start"] == start)
        found = next(by_id, None) or next(by_body, None)
        if found is not None:
            self.left.remove(found)
        return found


def readable(body: bytes) -> str:
    """A message's body for people to read: out of base64, and JSON indented, where it is so."""
    text = body.decode("utf-8", errors="replace")
    with suppress(ValueError):
        text = base64.b64decode(body, validate=True).decode("utf-8")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
