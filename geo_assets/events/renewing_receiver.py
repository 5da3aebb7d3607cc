"""One receiver of Service Bus whose messages stay locked until they are settled.

Here: one thread at a time at the SDK's receiver, the renewal of locks, and an end to waiting. Not here: the queue
(`service_bus`).

The SDK's AutoLockRenewer asks the receiver from threads of its own while we use it, and receivers are not thread-safe
(azure-sdk-for-python#21385): with two messages their frames mix, and the connection ends. While it opens a connection
it reads without any timeout.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from socket import SHUT_RDWR
from threading import Event, RLock, Thread
from typing import Any

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiver

_LOOK_EVERY = 0.25  # seconds; a lock is renewed when half of it is over
_CUT_EVERY = 0.25
_LONGEST_WORK = timedelta(minutes=5)  # then the message may come again, to another


@dataclass(slots=True)
class _LockedMessage:
    message: ServiceBusReceivedMessage
    renew_at: datetime
    let_go_at: datetime


class RenewingReceiver:
    """The SDK's receiver, to be used from any thread; to open it takes at most ``seconds``, and to close it too."""

    def __init__(self, receiver: ServiceBusReceiver, *, seconds: float) -> None:
        self._receiver = receiver
        self._seconds = seconds
        self._in_use = RLock()
        self._held: dict[int, _LockedMessage] = {}
        self._closed = Event()
        self._renewal: Thread | None = None

    def receive(self, most: int, seconds: float) -> list[ServiceBusReceivedMessage]:
        """Up to ``most`` messages that came within ``seconds``; to connect may take longer. Raises AzureError."""
        with self._in_use:
            with within(self._receiver, self._seconds):
                self._receiver.__enter__()  # opens what is not open: to receive would, but within ``seconds`` only
            found = self._receiver.receive_messages(max_message_count=most, max_wait_time=seconds)
            now = datetime.now(UTC)
            self._held |= {id(each): _LockedMessage(each, _half_way(each, now), now + _LONGEST_WORK) for each in found}
            if found and self._renewal is None:
                self._renewal = Thread(target=self._renew_until_closed, name="renew-locks", daemon=True)
                self._renewal.start()
            return found

    def peek(self, most: int, *, first: int) -> list[ServiceBusReceivedMessage]:
        """Up to ``most`` messages from that sequence number on, neither taken nor locked. Raises AzureError."""
        with self._in_use, within(self._receiver, self._seconds):
            return self._receiver.peek_messages(most, sequence_number=first)

    def settle(self, message: ServiceBusReceivedMessage, how: Callable[[ServiceBusReceiver], None]) -> None:
        """End the delivery by ``how``; the lock is renewed no more. Raises AzureError, MessageAlreadySettled."""
        with self._in_use:
            self._held.pop(id(message), None)
            how(self._receiver)

    def close(self) -> None:
        """Release what is not settled, and the connection."""
        self._closed.set()
        if self._renewal is not None:
            self._renewal.join()
        with self._in_use, within(self._receiver, self._seconds):
            self._receiver.close()

    def _renew_until_closed(self) -> None:
        while not self._closed.wait(_LOOK_EVERY):
            now = datetime.now(UTC)
            for key, held in list(self._held.items()):
                if held.renew_at <= now and not self._closed.is_set():
                    self._renew(key, held, now)

    def _renew(self, key: int, held: _LockedMessage, now: datetime) -> None:
        with self._in_use:
            if key not in self._held:
                return
            try:
                if now >= held.let_go_at:
                    del self._held[key]
                else:
                    self._receiver.renew_message_lock(held.message)
                    held.renew_at = _half_way(held.message, datetime.now(UTC))
            except AzureError:  # to settle the message will tell
                self._held.pop(key, None)


@contextmanager
def within(handler: Any, seconds: float) -> Iterator[None]:
    """Let a receiver or sender of the SDK wait for the broker so long in the block; then what it asks is an error."""
    done = Event()

    def cut() -> None:
        left = seconds
        while not done.wait(left):  # again, for each connection that it tries next
            _cut(handler)
            left = _CUT_EVERY

    Thread(target=cut, name="cut", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _cut(handler: Any) -> None:
    """End a connection under whoever reads from it. The SDK has no way to."""
    with suppress(AttributeError, OSError):  # there is none, or none any more
        handler._handler._connection._transport.sock.shutdown(SHUT_RDWR)


def _half_way(message: ServiceBusReceivedMessage, now: datetime) -> datetime:
    until = message.locked_until_utc
    return now if until is None else now + (until - now) / 2
