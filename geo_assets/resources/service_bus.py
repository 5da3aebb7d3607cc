"""A queue, or a topic's subscription, of Azure Service Bus as a queue of events.

Here: receiving under a lock, settling one by one, the dead-letter queue, and the translation of the SDK's errors. Not
here: which namespace and credential (`message_queues`), what a message says (`geo_assets.core.events`).

The SDK waits for the broker's word on each settlement, and its receivers may be used by one thread at a time. So there
are up to four receivers, each with a connection and a thread of its own, that share a large batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any, Self

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity import DefaultAzureCredential
from azure.servicebus import (
    AutoLockRenewer,
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
from geo_assets.resources.message_queue import DeadLetter, Message, Path

_MOST_RECEIVERS = 4
_SHARE = 50  # a batch is shared by so many receivers that each has at least this
_MORE_WITHIN = 1.0  # seconds that further receivers wait, when the first had its full share
_LONGEST_WORK = timedelta(minutes=5)  # locks are renewed that long
_PATIENCE = timedelta(seconds=15)  # for the answer to one settlement: the SDK's own is a minute
_PEEKED_AT_ONCE = 100
_DESCRIPTION_CHARACTERS = 1024  # the broker has room for 4,096
_RETRY: dict[str, Any] = {"retry_total": 3, "retry_backoff_factor": 0.2, "retry_backoff_max": 5}
_LOCK_LOST = (MessageLockLostError, MessageAlreadySettled)
_BROKERS_WORDS = ("DeadLetterReason", "DeadLetterErrorDescription")


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What settles a message: the receiver it came by, and the SDK's own message."""

    receiver: ServiceBusReceiver
    message: ServiceBusReceivedMessage


class ServiceBusQueue:
    """One queue or ``topic/subscription``; use it as a context manager, for it keeps connections and threads.

    ``patience`` bounds the wait for the broker's word on one settlement. Raises ValueError where the client's
    connection string is for another entity.
    """

    path: Path = "service_bus"

    def __init__(self, client: ServiceBusClient, name: str, *, patience: timedelta = _PATIENCE) -> None:
        self._client = client
        self._renewer = AutoLockRenewer(max_lock_renewal_duration=_LONGEST_WORK.total_seconds())
        self._patience = patience
        self._pool = ThreadPoolExecutor(_MOST_RECEIVERS, thread_name_prefix=f"bus-{name}")
        self._entity, _, self._subscription = name.rpartition("/") if "/" in name else (name, "", "")
        self._receivers = [self._new_receiver()]
        self.name = name

    @classmethod
    def from_connection_string(cls, connection_string: str, name: str) -> Self:
        """The queue in the namespace of the connection string. Raises ValueError where that is malformed."""
        return cls(ServiceBusClient.from_connection_string(connection_string, **_client_options(_PATIENCE)), name)

    @classmethod
    def from_namespace(cls, namespace: str, name: str) -> Self:
        """The queue in the namespace, with DefaultAzureCredential (managed identity, Azure CLI, environment)."""
        return cls(ServiceBusClient(namespace, DefaultAzureCredential(), **_client_options(_PATIENCE)), name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._renewer.close(wait=False)
        self._pool.shutdown()
        self._client.close()

    def receive(self, most: int, *, wait: timedelta) -> list[Message]:
        """Up to ``most`` messages, under locks that are renewed; [] where none came within ``wait``."""
        share, rest = self._shares(most)
        seconds = max(wait.total_seconds(), 0.01)
        messages = self._receive(self._receivers[0], share, seconds)
        if rest and len(messages) == share:
            messages += self._receive_more(rest)
        return messages

    def complete(self, messages: Sequence[Message]) -> list[Message]:
        """Complete each message; those of which the broker did not say that they are off. Raises Unauthorized."""
        away = Event()  # once the service does not serve, the rest is not asked for
        lanes = self._pool.map(lambda receiver: self._complete(receiver, messages, away), self._receivers)
        unknown = {id(message) for lane in lanes for message in lane}
        return [message for message in messages if id(message) in unknown]

    def abandon(self, message: Message) -> None:
        """Give the message back at once; where our lock is lost it is given back already."""
        receipt: _Receipt = message.receipt
        with _bus_errors(self.name), suppress(*_LOCK_LOST):
            receipt.receiver.abandon_message(receipt.message)

    def dead_letter(self, message: Message, *, reason: str, description: str) -> str:
        """Have the broker move the message to the dead-letter queue, with why; its id, which stays the same.

        Raises QueueUnavailable where our lock is lost: then it comes again.
        """
        receipt: _Receipt = message.receipt
        with _bus_errors(self.name):
            receipt.receiver.dead_letter_message(
                receipt.message, reason=reason, error_description=description[:_DESCRIPTION_CHARACTERS]
            )
        return message.message_id

    def depth(self) -> None:
        """None: only an identity that may manage the namespace may ask."""

    def dead_letters(self, most: int) -> list[DeadLetter]:
        """The first dead letters, those the broker made by itself (MaxDeliveryCountExceeded) among them."""
        with self._dead_letter_receiver() as receiver:
            return [_dead_letter(receiver, found) for found in _peek(receiver, most)]

    def replay(self, message_id: str) -> bool:
        """Send the dead letter again, then take it off the dead-letter queue; whether there was one.

        What was dead-lettered in a subscription is sent to its topic, and so to all its subscriptions. It gets an id
        of its own, so that a queue that detects duplicates does not drop it.
        """
        with self._taken_dead_letter(message_id) as found:
            if found is not None:
                with self._sender() as sender:
                    sender.send_messages(_copy(found.message))
                found.receiver.complete_message(found.message)
            return found is not None

    def drop(self, message_id: str) -> bool:
        """Take the dead letter off; whether there was one."""
        with self._taken_dead_letter(message_id) as found:
            if found is not None:
                found.receiver.complete_message(found.message)
            return found is not None

    def _shares(self, most: int) -> tuple[int, list[int]]:
        """How many messages the first receiver is asked for, and each of the others, while all are wanted."""
        receivers = min(_MOST_RECEIVERS, max(1, most // _SHARE))
        share = -(-most // receivers)
        rest = most - share
        return share, [min(share, rest - share * number) for number in range(receivers - 1)]

    def _receive(self, receiver: ServiceBusReceiver, most: int, seconds: float) -> list[Message]:
        with _bus_errors(self.name):
            found = receiver.receive_messages(max_message_count=most, max_wait_time=seconds)
            return [_message(receiver, each, deliveries=(each.delivery_count or 0) + 1) for each in found]

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

    def _complete(self, receiver: ServiceBusReceiver, messages: Sequence[Message], away: Event) -> list[Message]:
        """Complete those that came by ``receiver``, in the one thread that may use it; the unknown."""
        unknown = []
        for message in messages:
            receipt: _Receipt = message.receipt
            if receipt.receiver is receiver and not self._completed(receipt, away):
                unknown.append(message)
        return unknown

    def _completed(self, receipt: _Receipt, away: Event) -> bool:
        if away.is_set():
            return False
        try:
            with _bus_errors(self.name):
                receipt.receiver.complete_message(receipt.message)
        except _LockLost:  # or the broker's word was lost, and asked again it knows of no such lock
            return False
        except QueueUnavailable:
            away.set()
            return False
        return True

    @contextmanager
    def _taken_dead_letter(self, message_id: str) -> Iterator[_Receipt | None]:
        """The dead letter, locked; those that lay before it are given back."""
        with self._dead_letter_receiver() as receiver:
            found, others = _search(receiver, message_id)
            try:
                yield None if found is None else _Receipt(receiver, found)
            finally:
                for other in others:
                    with suppress(*_LOCK_LOST):
                        receiver.abandon_message(other)

    @contextmanager
    def _dead_letter_receiver(self) -> Iterator[ServiceBusReceiver]:
        with _bus_errors(self.name), self._new_receiver(ServiceBusSubQueue.DEAD_LETTER) as receiver:
            yield receiver

    def _new_receiver(self, sub_queue: ServiceBusSubQueue | None = None) -> ServiceBusReceiver:
        # Without prefetch: what lies in a buffer is locked all the same, and its lock runs out there.
        options: dict[str, Any] = {
            "sub_queue": sub_queue,
            "auto_lock_renewer": self._renewer,
            "timeout": self._patience.total_seconds(),
        }
        if self._subscription:
            return self._client.get_subscription_receiver(self._entity, self._subscription, **options)
        return self._client.get_queue_receiver(self._entity, **options)

    def _sender(self) -> ServiceBusSender:
        if self._subscription:
            return self._client.get_topic_sender(self._entity)
        return self._client.get_queue_sender(self._entity)


class _LockLost(QueueUnavailable):
    """The lock on a message is lost: it is settled already, or another receiver gets it."""


def _client_options(patience: timedelta) -> dict[str, Any]:
    return _RETRY | {"try_timeout": patience.total_seconds()}


def _search(
    receiver: ServiceBusReceiver, message_id: str
) -> tuple[ServiceBusReceivedMessage | None, list[ServiceBusReceivedMessage]]:
    others: list[ServiceBusReceivedMessage] = []
    while page := receiver.receive_messages(max_message_count=_PEEKED_AT_ONCE, max_wait_time=_MORE_WITHIN):
        found = [each for each in page if _id(each) == message_id]
        others += [each for each in page if each not in found[:1]]
        if found:
            return found[0], others
    return None, others


def _peek(receiver: ServiceBusReceiver, most: int) -> Iterable[ServiceBusReceivedMessage]:
    first = 1
    while most > 0:
        page = receiver.peek_messages(min(most, _PEEKED_AT_ONCE), sequence_number=first)
        if not page:
            return
        yield from page
        most -= len(page)
        first = (page[-1].sequence_number or 0) + 1


def _message(receiver: ServiceBusReceiver, found: ServiceBusReceivedMessage, *, deliveries: int) -> Message:
    return Message(
        body=_body(found),
        message_id=_id(found),
        delivery_count=deliveries,
        enqueued_at=found.enqueued_time_utc,
        correlation_id=found.correlation_id,
        receipt=_Receipt(receiver, found),
    )


def _dead_letter(receiver: ServiceBusReceiver, found: ServiceBusReceivedMessage) -> DeadLetter:
    message = _message(receiver, found, deliveries=found.delivery_count or 0)
    return DeadLetter(message, found.dead_letter_reason, found.dead_letter_error_description)


def _id(message: ServiceBusReceivedMessage) -> str:
    return message.message_id or str(message.sequence_number)


def _body(message: ServiceBusReceivedMessage) -> bytes:
    """The bytes of the body: as they are, or of its text; a sender may choose either."""
    if message.body_type == AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    return message.body if isinstance(message.body, bytes) else str(message.body).encode()


def _copy(message: ServiceBusReceivedMessage) -> ServiceBusMessage:
    """The message as it was sent, without what the broker wrote on it."""
    properties = {_text(key): value for key, value in (message.application_properties or {}).items()}
    return ServiceBusMessage(
        _body(message),
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
        return _LockLost(f"the lock on a message of {name} is lost: {message}")
    if isinstance(error, MessagingEntityNotFoundError):
        return QueueUnavailable(
            f"Service Bus has no {name}.", remedy="Make it (az servicebus), or mend its name in sources.yaml."
        )
    if isinstance(error, ServiceBusAuthenticationError | ServiceBusAuthorizationError | ClientAuthenticationError):
        return Unauthorized(
            f"Service Bus refuses access to {name}: {message}",
            remedy="Check the AZURE_SERVICEBUS_* variables (.env.example) and the role of the identity.",
        )
    return QueueUnavailable(f"Service Bus failed on {name}: {message}")
