"""A queue, or a topic's subscription, of Azure Service Bus as a queue of events.

Here: receiving under a lock, settling one by one, the dead-letter queue, and the translation of the SDK's errors. Not
here: which namespace and credential (`geo_assets.resources.queues`), what a message says (`blob_events`).

The SDK waits for the broker's word on each settlement, and its receivers may be used by one thread at a time. So up to
four receivers, each with a connection of its own, share a large batch.
"""

import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from socket import socket
from threading import Event
from typing import Any, Self

import certifi
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity import DefaultAzureCredential
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceivedMessage,
    ServiceBusReceiver,
    ServiceBusSender,
    ServiceBusSubQueue,
)
from azure.servicebus.amqp import AmqpMessageBodyType
from azure.servicebus.exceptions import (
    MessageAlreadySettled,
    MessageLockLostError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
)

from geo_assets.errors import GeoAssetsError, QueueUnavailable, Unauthorized
from geo_assets.events.message_queue import DeadLetter
from geo_assets.events.renewing_receiver import RenewingReceiver, within
from geo_assets.models import Channel, Message

_MOST_RECEIVERS = 4
_SHARE = 50  # a batch is shared by so many receivers that each has at least this
_LEAST_WAIT = 0.5  # seconds: the broker is asked, and answers
_MORE_WITHIN = 1.0  # seconds that further receivers wait, when the first had its full share
_PATIENCE = timedelta(seconds=15)  # for the answer to one settlement: the SDK's own is a minute
_OPEN_SECONDS = 8.0  # for a connection, its token and its link
_SEND_SECONDS = 30.0  # of one message, the connection included
_PEEKED_AT_ONCE = 100
_DESCRIPTION_CHARACTERS = 1024  # the broker has room for 4,096
_RETRY: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.2, "retry_backoff_max": 5}
_LOCK_LOST = (MessageLockLostError, MessageAlreadySettled)
_BROKERS_WORDS = ("DeadLetterReason", "DeadLetterErrorDescription")


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What settles a message: the receiver it came by, and the SDK's own message."""

    receiver: RenewingReceiver
    message: ServiceBusReceivedMessage

    def settle(self, how: Callable[[ServiceBusReceiver, ServiceBusReceivedMessage], None]) -> None:
        """End the delivery by ``how``."""
        self.receiver.settle(self.message, lambda receiver: how(receiver, self.message))


class ServiceBusQueue:
    """One queue or ``topic/subscription``; use it as a context manager, for it keeps connections and threads.

    ``patience`` bounds the wait for the broker's word on one settlement. Raises ValueError where the client's
    connection string is for another entity.
    """

    path: Channel = "service_bus"

    def __init__(self, client: ServiceBusClient, name: str, *, patience: timedelta = _PATIENCE) -> None:
        self._client = client
        self._patience = patience
        self._pool = ThreadPoolExecutor(_MOST_RECEIVERS, thread_name_prefix=f"bus-{name}")
        self._entity, _, self._subscription = name.rpartition("/") if "/" in name else (name, "", "")
        self._receivers = [self._new_receiver()]
        self._dead_letters = self._new_receiver(ServiceBusSubQueue.DEAD_LETTER)
        self._sender = self._new_sender()
        self.name = name

    @classmethod
    def from_connection_string(cls, connection_string: str, name: str, *, patience: timedelta = _PATIENCE) -> Self:
        """The queue in the namespace of the connection string. Raises ValueError where that is malformed."""
        client = ServiceBusClient.from_connection_string(connection_string, **_client_options(patience))
        return cls(client, name, patience=patience)

    @classmethod
    def from_namespace(cls, namespace: str, name: str) -> Self:
        """The queue in the namespace, with DefaultAzureCredential (managed identity, Azure CLI, environment)."""
        return cls(ServiceBusClient(namespace, DefaultAzureCredential(), **_client_options(_PATIENCE)), name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._pool:  # at once: each gives back what the broker has sent meanwhile, which takes half a second
            self._pool.map(RenewingReceiver.close, (*self._receivers, self._dead_letters))
        self._client.close()

    def receive(self, most: int, *, wait: timedelta) -> list[Message]:
        """Up to ``most`` messages, under locks that are renewed; [] where none came within ``wait``.

        ``wait`` counts as half a second at least; to connect may take longer.
        """
        share, rest = self._shares(most)
        seconds = max(wait.total_seconds(), _LEAST_WAIT)
        messages = self._receive(self._receivers[0], share, seconds)
        if rest and len(messages) == share:
            messages += self._receive_more(rest)
        return messages

    def complete(self, messages: Sequence[Message]) -> list[Message]:
        """Complete each message; those of which the broker did not say that they are off. Raises Unauthorized."""
        away = Event()  # once the service does not serve, the rest is not asked for
        lanes: dict[int, list[Message]] = {}
        for message in messages:
            lanes.setdefault(id(message.receipt.receiver), []).append(message)
        return [
            message
            for lane in self._pool.map(lambda lane: self._complete(lane, away), lanes.values())
            for message in lane
        ]

    def abandon(self, message: Message) -> None:
        """Give the message back at once; where our lock is lost it is given back already."""
        receipt: _Receipt = message.receipt
        with _bus_errors(self.name), suppress(*_LOCK_LOST):
            receipt.settle(ServiceBusReceiver.abandon_message)

    def dead_letter(self, message: Message, *, reason: str, description: str) -> str:
        """Have the broker move the message to the dead-letter queue, with why; its id, which stays the same.

        Raises QueueUnavailable where our lock is lost: then it comes again.
        """
        receipt: _Receipt = message.receipt
        with _bus_errors(self.name):
            receipt.settle(partial(_dead_letter, reason=reason, description=description[:_DESCRIPTION_CHARACTERS]))
        return message.message_id

    def depth(self) -> None:
        """None: only an identity that may manage the namespace may ask."""

    def dead_letters(self, most: int) -> list[DeadLetter]:
        """The first dead letters, including those the broker made itself (MaxDeliveryCountExceeded)."""
        with _bus_errors(self.name):
            return [_as_dead_letter(found) for found in _peek(self._dead_letters, most)]

    def replay(self, message_id: str, *, rewrite: Callable[[bytes], bytes] = bytes) -> bool:
        """Send the dead letter again, then take it off the dead-letter queue; whether there was one.

        What was dead-lettered in a subscription is sent to its topic, and so to all its subscriptions. It gets an id
        of its own, so that a queue that detects duplicates does not drop it.
        """
        with self._taken_dead_letter(message_id) as found:
            if found is not None:
                with within(self._sender, _SEND_SECONDS):
                    self._sender.send_messages(_copy(found.message, rewrite(_body(found.message))))
                found.settle(ServiceBusReceiver.complete_message)
            return found is not None

    def drop(self, message_id: str) -> bool:
        """Take the dead letter off; whether there was one."""
        with self._taken_dead_letter(message_id) as found:
            if found is not None:
                found.settle(ServiceBusReceiver.complete_message)
            return found is not None

    def _shares(self, most: int) -> tuple[int, list[int]]:
        """How many messages the first receiver is asked for, and each of the others, while all are wanted."""
        receivers = min(_MOST_RECEIVERS, max(1, most // _SHARE))
        share = -(-most // receivers)
        rest = most - share
        return share, [min(share, rest - share * number) for number in range(receivers - 1)]

    def _receive(self, receiver: RenewingReceiver, most: int, seconds: float) -> list[Message]:
        with _bus_errors(self.name):
            found = receiver.receive(most, seconds)
        return [_message(each, _Receipt(receiver, each), deliveries=(each.delivery_count or 0) + 1) for each in found]

    def _receive_more(self, shares: list[int]) -> Iterator[Message]:
        while len(self._receivers) <= len(shares):
            self._receivers.append(self._new_receiver())
        tasks = [
            self._pool.submit(self._receive, receiver, share, _MORE_WITHIN)
            for receiver, share in zip(self._receivers[1:], shares, strict=False)
        ]
        for task in tasks:
            try:
                yield from task.result()
            except GeoAssetsError:  # the first receiver's messages are ours already: the next receive meets the trouble
                continue

    def _complete(self, lane: list[Message], away: Event) -> list[Message]:
        """Complete the messages of one receiver, in the one thread that may use it; the unknown."""
        return [message for message in lane if not self._completed(message.receipt, away)]

    def _completed(self, receipt: _Receipt, away: Event) -> bool:
        if away.is_set():
            return False
        try:
            with _bus_errors(self.name):
                receipt.settle(ServiceBusReceiver.complete_message)
        except _LockLost:  # or the broker's word was lost, and asked again it knows of no such lock
            return False
        except QueueUnavailable:
            away.set()
            return False
        return True

    @contextmanager
    def _taken_dead_letter(self, message_id: str) -> Iterator[_Receipt | None]:
        """The dead letter, locked; those that lay before it are given back."""
        with _bus_errors(self.name):
            found, others = _search(self._dead_letters, message_id)
            try:
                yield None if found is None else _Receipt(self._dead_letters, found)
            finally:
                for other in others:
                    with suppress(*_LOCK_LOST):
                        _Receipt(self._dead_letters, other).settle(ServiceBusReceiver.abandon_message)

    def _new_receiver(self, sub_queue: ServiceBusSubQueue | None = None) -> RenewingReceiver:
        # Without prefetch: what lies in a buffer is locked all the same, and its lock runs out there.
        options: dict[str, Any] = {"sub_queue": sub_queue, "timeout": self._patience.total_seconds()}
        if self._subscription:
            receiver = self._client.get_subscription_receiver(self._entity, self._subscription, **options)
        else:
            receiver = self._client.get_queue_receiver(self._entity, **options)
        return RenewingReceiver(receiver, seconds=_OPEN_SECONDS)

    def _new_sender(self) -> ServiceBusSender:
        if self._subscription:
            return self._client.get_topic_sender(self._entity)
        return self._client.get_queue_sender(self._entity)


class _LockLost(QueueUnavailable):
    """The lock on a message is lost: it is settled already, or another receiver gets it."""


def _client_options(patience: timedelta) -> dict[str, Any]:
    return _RETRY | {"try_timeout": patience.total_seconds(), "ssl_context": _ShortHandshakes()}


class _ShortHandshakes(ssl.SSLContext):
    """TLS as the SDK has it, but for a handshake without end: the SDK sets no timeout for one."""

    def __new__(cls) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self) -> None:
        self.load_verify_locations(certifi.where())

    def wrap_socket(self, sock: socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(_OPEN_SECONDS / 2)
        return super().wrap_socket(sock, *arguments, **options)


def _search(
    receiver: RenewingReceiver, message_id: str
) -> tuple[ServiceBusReceivedMessage | None, list[ServiceBusReceivedMessage]]:
    """The message of that id, locked, and those that came before it; none is locked where it is not there."""
    others: list[ServiceBusReceivedMessage] = []
    if not any(_id(each) == message_id for each in _peek(receiver, sys.maxsize)):
        return None, others
    while page := receiver.receive(_PEEKED_AT_ONCE, _MORE_WITHIN):
        found = [each for each in page if _id(each) == message_id]
        others += [each for each in page if each not in found[:1]]
        if found:
            return found[0], others
    return None, others


def _peek(receiver: RenewingReceiver, most: int) -> Iterable[ServiceBusReceivedMessage]:
    first = 1
    while most > 0:
        page = receiver.peek(min(most, _PEEKED_AT_ONCE), first=first)
        if not page:
            return
        yield from page
        most -= len(page)
        first = (page[-1].sequence_number or 0) + 1


def _dead_letter(
    receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, *, reason: str, description: str
) -> None:
    receiver.dead_letter_message(message, reason=reason, error_description=description)


def _message(found: ServiceBusReceivedMessage, receipt: _Receipt | None, *, deliveries: int) -> Message:
    return Message(
        body=_body(found),
        message_id=_id(found),
        delivery_count=deliveries,
        enqueued_at=found.enqueued_time_utc,
        correlation_id=found.correlation_id,
        receipt=receipt,
    )


def _as_dead_letter(found: ServiceBusReceivedMessage) -> DeadLetter:
    message = _message(found, None, deliveries=found.delivery_count or 0)
    return DeadLetter(message, found.dead_letter_reason, found.dead_letter_error_description)


def _id(message: ServiceBusReceivedMessage) -> str:
    return message.message_id or str(message.sequence_number)


def _body(message: ServiceBusReceivedMessage) -> bytes:
    """The bytes of the body: as they are, or of its text; a sender may choose either."""
    if message.body_type == AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    return message.body if isinstance(message.body, bytes) else str(message.body).encode()


def _copy(message: ServiceBusReceivedMessage, body: bytes) -> ServiceBusMessage:
    """The message as it was sent but for its body, without what the broker wrote on it."""
    properties = {_text(key): value for key, value in (message.application_properties or {}).items()}
    return ServiceBusMessage(
        body,
        application_properties={key: properties[key] for key in properties.keys() - set(_BROKERS_WORDS)} or None,
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        subject=message.subject,
    )


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


@contextmanager
def _bus_errors(name: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; ``name`` is the queue concerned."""
    try:
        yield
    except (AzureError, MessageAlreadySettled, OSError) as error:
        raise _translated(error, name) from error


def _translated(error: Exception, name: str) -> GeoAssetsError:
    message = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, _LOCK_LOST):
        return _LockLost(f"The lock on a message of {name} is lost: {message}")
    if isinstance(error, MessagingEntityNotFoundError):
        return QueueUnavailable(
            f"Service Bus has no {name}.", remedy="Create it with `az servicebus`, or correct its name in sources.yaml."
        )
    if isinstance(error, ServiceBusAuthenticationError | ServiceBusAuthorizationError | ClientAuthenticationError):
        return Unauthorized(
            f"Service Bus refuses access to {name}: {message}",
            remedy="Check the AZURE_SERVICEBUS_* variables (.env.example) and the role of the identity.",
        )
    return QueueUnavailable(f"Service Bus failed on {name}: {message}")
