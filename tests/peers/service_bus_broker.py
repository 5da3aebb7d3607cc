"""What the Service Bus peer remembers and decides: entities, their messages under locks, and their dead letters.

Here: a broker without a network. Not here: AMQP (`service_bus_wire`), connections and faults (`service_bus`).
"""

import heapq
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from proton import Message

DEAD_LETTERS = "/$deadletterqueue"
Outcome = Literal["completed", "abandoned", "released", "deferred", "dead_lettered"]


@dataclass
class Rules:
    """What an Azure queue is created with; a test may change it at any time."""

    lock_seconds: float = 30.0
    most_deliveries: int = 10


@dataclass(eq=False)
class Stored:
    """A message in an entity; its lock is 16 ASCII characters, for the SDK reads a delivery's tag as a UUID."""

    message: Message
    sequence_number: int
    visible_from: float
    enqueued_at: float = field(default_factory=time.time)
    failed_deliveries: int = 0
    deferred: bool = False
    lock: str | None = None
    locked_until: float = 0.0


class Entity:
    """A queue, a subscription, or the dead-letter queue of either."""

    def __init__(self, rules: Rules, counts: Counter[str], *, dead_letters: "Entity | None" = None) -> None:
        self.messages: dict[int, Stored] = {}
        self._rules = rules
        self._counts = counts
        self._dead_letters = dead_letters
        self._last_number = 0
        self._waiting: list[int] = []
        self._scheduled: set[int] = set()
        self._locked: dict[str, Stored] = {}

    def put(self, message: Message, *, visible_from: float = 0.0) -> int:
        """Store a message, to be seen from that instant on; its sequence number."""
        self._last_number += 1
        number = self._last_number
        self.messages[number] = Stored(message, number, visible_from)
        if visible_from > time.time():
            self._scheduled.add(number)
        else:
            heapq.heappush(self._waiting, number)
        return number

    def lock_next(self) -> Stored | None:
        """The first message that waits, locked; none where none waits."""
        while self._waiting:
            stored = self.messages.get(heapq.heappop(self._waiting))
            if stored is not None:
                return self._lock(stored)
        return None

    def lock_deferred(self, number: int) -> Stored | None:
        """The deferred message of that number, locked."""
        stored = self.messages.get(number)
        return self._lock(stored) if stored is not None and stored.deferred and stored.lock is None else None

    def holds(self, lock: str) -> bool:
        """Whether the lock is still one."""
        stored = self._locked.get(lock)
        return stored is not None and stored.locked_until > time.time()

    def renew(self, lock: str) -> float:
        """Have the lock run from now on; until when."""
        stored = self._locked[lock]
        stored.locked_until = time.time() + self._rules.lock_seconds
        return stored.locked_until

    def settle(self, lock: str, outcome: Outcome, *, reason: str | None = None, description: str | None = None) -> None:
        """End the delivery that the lock is of."""
        stored = self._locked.pop(lock)
        stored.lock = None
        self._counts[outcome] += 1
        match outcome:
            case "completed":
                del self.messages[stored.sequence_number]
            case "dead_lettered":
                self._bury(stored, reason, description)
            case "deferred":
                stored.deferred = True
                stored.failed_deliveries += 1  # the SDK says so of what it defers
            case "released":
                self._give_back(stored)
            case "abandoned":
                self._fail(stored)

    def pass_time(self, *, no_lock_holds: bool) -> None:
        """End the locks that ran out, or all, and show the scheduled messages whose time has come."""
        now = time.time()
        for stored in [each for each in self._locked.values() if no_lock_holds or each.locked_until <= now]:
            self._counts["lock_expired"] += 1
            self._locked.pop(str(stored.lock))
            stored.lock = None
            self._fail(stored)
        for number in [each for each in self._scheduled if self.messages[each].visible_from <= now]:
            self._scheduled.remove(number)
            heapq.heappush(self._waiting, number)

    def peek(self, first: int, most: int) -> list[Stored]:
        """Messages from that sequence number on, locked or not."""
        return [stored for number, stored in self.messages.items() if number >= first][:most]

    def cancel(self, number: int) -> None:
        """Forget a scheduled message."""
        if number in self._scheduled:
            self._scheduled.remove(number)
            del self.messages[number]

    def _lock(self, stored: Stored) -> Stored:
        stored.lock = secrets.token_hex(8)
        stored.locked_until = time.time() + self._rules.lock_seconds
        self._locked[stored.lock] = stored
        return stored

    def _fail(self, stored: Stored) -> None:
        stored.failed_deliveries += 1
        if self._dead_letters is not None and stored.failed_deliveries >= self._rules.most_deliveries:
            why = f"Message could not be consumed after {stored.failed_deliveries} delivery attempts."
            self._bury(stored, "MaxDeliveryCountExceeded", why)
        else:
            self._give_back(stored)

    def _give_back(self, stored: Stored) -> None:
        if not stored.deferred:
            heapq.heappush(self._waiting, stored.sequence_number)

    def _bury(self, stored: Stored, reason: str | None, description: str | None) -> None:
        del self.messages[stored.sequence_number]
        why = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        stored.message.properties = dict(stored.message.properties or {}) | why
        target = self._dead_letters or self
        buried = target.messages[target.put(stored.message)]
        buried.failed_deliveries = stored.failed_deliveries


class Broker:
    """The entities of a namespace, found by the address a link asks for."""

    def __init__(self, rules: Rules) -> None:
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._entities: dict[str, Entity] = {}
        self._topics: dict[str, list[Entity]] = {}

    def add(self, name: str) -> None:
        """Add a queue, or a subscription and its topic where the name is ``topic/subscription``."""
        topic, _, subscription = name.rpartition("/")
        address = (f"{topic}/subscriptions/{subscription}" if topic else name).lower()
        graves = Entity(self._rules, self.counts)
        entity = Entity(self._rules, self.counts, dead_letters=graves)
        self._entities |= {address: entity, address + DEAD_LETTERS: graves}
        self._topics.setdefault(topic.lower() or address, []).append(entity)

    def clear(self) -> None:
        """Forget all entities, whose locks would go on to run out, and what was counted."""
        self._entities.clear()
        self._topics.clear()
        self.counts.clear()

    def entity(self, address: str) -> Entity | None:
        """What is received from at the address."""
        return self._entities.get(_path(address))

    def targets(self, address: str) -> list[Entity]:
        """What a message sent to the address comes into: a queue, or all subscriptions of a topic."""
        return self._topics.get(_path(address), [])

    def store(self, address: str, encoded: bytes) -> None:
        """Put a message into what the address stands for."""
        self.counts["sent"] += 1
        for target in self.targets(address):
            message = Message()
            message.decode(encoded)
            target.put(message)

    def __iter__(self) -> Iterator[Entity]:
        return iter(list(self._entities.values()))


def _path(address: str) -> str:
    return re.sub(r"^[a-z]+://[^/]+/", "", address.lower()).strip("/")
