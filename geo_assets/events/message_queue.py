"""What geo_assets asks of a queue of events: receive, settle each message individually, and keep dead letters.

Here: the Protocol both kinds of queue fulfil, and the message. Not here: the queues (`storage_queue`, `service_bus`),
what a message says (`geo_assets.events.blob_events`), what happens to it (`events.observer`).

A dead letter has an id of its own: a Storage Queue gives a new one to what is put into NAME-poison, Service Bus keeps
the message's. `dead_letter` returns it, `dead_letters` shows it, `replay` and `drop` take it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from geo_assets.models import Channel, Message


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter queue, and why it is there: None if no reason was given."""

    message: Message
    reason: str | None
    description: str | None


class MessageQueue(Protocol):
    """A queue of blob events; its methods raise QueueUnavailable, or Unauthorized, if the service is unavailable."""

    @property
    def path(self) -> Channel:
        """Which kind of queue this is."""
        ...

    @property
    def name(self) -> str:
        """The queue's name in its service; topic/subscription where it is one."""
        ...

    def receive(self, most: int, *, wait: timedelta) -> list[Message]:
        """Up to ``most`` messages, locked for us; [] where none came within ``wait``."""
        ...

    def complete(self, messages: Sequence[Message]) -> list[Message]:
        """Take each message off the queue; those of which it is not known whether they are off: they may come again."""
        ...

    def abandon(self, message: Message) -> None:
        """Give the message back, to be delivered again."""
        ...

    def dead_letter(self, message: Message, *, reason: str, description: str) -> str:
        """Move the message to the dead-letter queue; its id there. It may come there twice, and is never lost."""
        ...

    def depth(self) -> int | None:
        """About how many messages wait; None where the service does not say."""
        ...

    def dead_letters(self, most: int) -> list[DeadLetter]:
        """The first dead letters, without taking or locking them."""
        ...

    def replay(self, message_id: str, *, rewrite: Callable[[bytes], bytes] = bytes) -> bool:
        """Put the dead letter back into the queue it came from, its body ``rewrite``-n; whether there was one."""
        ...

    def drop(self, message_id: str) -> bool:
        """Delete the dead letter; whether there was one."""
        ...
