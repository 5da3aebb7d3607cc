"""A queue of Azure Storage as a queue of events; its dead letters lie in NAME-poison.

Here: receiving raw, settling one by one, and the translation of the SDK's errors. Not here: which account and
credential (`geo_assets.resources.queues`), what a message says (`geo_assets.events.blob_events`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Event
from typing import Any, Self, TypeVar

import stamina
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.storage.queue import QueueClient, QueueMessage, QueueServiceClient

from geo_assets.errors import GeoAssetsError, QueueUnavailable, Unauthorized
from geo_assets.events.message_queue import DeadLetter
from geo_assets.models import Channel, Message
from geo_assets.storage.azure_transport import WHOLE_TIMEOUT

MOST_A_REQUEST = 32
# Far longer than a batch takes, so that no lock is renewed; after a crash its messages come again as late as this.
VISIBILITY = timedelta(minutes=5)
_SEARCH_VISIBILITY = timedelta(seconds=30)
_LOOK_AGAIN = timedelta(milliseconds=500)  # a Storage Queue answers at once, empty or not
_AT_ONCE = 8  # of the ten connections the SDK's transport keeps
_NEVER = -1  # a message's time to live, for the service's own default is seven days
# The SDK's own retries wait 15 s and more. Another queue's turn does not wait for this one's, but a tick's end does.
NO_SDK_RETRY: dict[str, Any] = {"retry_total": 0, "connection_timeout": 4, "read_timeout": 6, WHOLE_TIMEOUT: 8}
"""The options of every request."""
_ATTEMPTS = 4
_RETRY_SECONDS = 4.0  # after the first try of a request

T = TypeVar("T")


class StorageQueue:
    """One queue of a storage account; use it as a context manager, for it keeps threads and connections."""

    path: Channel = "storage_queue"

    def __init__(self, client: QueueServiceClient, name: str) -> None:
        # Clients without a policy neither encode nor decode: with one, a single bad message fails a whole receive.
        self._queue = client.get_queue_client(name)
        self._poison = client.get_queue_client(f"{name}-poison")
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"queue-{name}")
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def receive(self, most: int, *, wait: timedelta) -> list[Message]:
        """Up to ``most`` messages, hidden from others for five minutes; [] where none came within ``wait``."""
        deadline = time.monotonic() + wait.total_seconds()
        while True:
            messages = self._receive_waiting(most)
            left = deadline - time.monotonic()
            if messages or left <= 0:
                return messages
            time.sleep(min(left, _LOOK_AGAIN.total_seconds()))

    def complete(self, messages: Sequence[Message]) -> list[Message]:
        """Delete each message; those of which it is not known whether they are gone. Raises Unauthorized."""
        away = Event()  # once the service does not serve, the rest is not asked for

        def delete(message: Message) -> bool:
            try:
                return not away.is_set() and self._delete(message)
            except QueueUnavailable:
                away.set()
                return False

        gone = self._pool.map(delete, messages)
        return [message for message, is_gone in zip(messages, gone, strict=True) if not is_gone]

    def abandon(self, message: Message) -> None:
        """Make the message visible at once; where our time with it is over it is visible already."""
        with suppress(_ReceiptLost):
            self._ask(lambda: self._show(self._queue, message.message_id, message.receipt))

    def dead_letter(self, message: Message, *, reason: str, description: str) -> str:  # noqa: ARG002
        """Put the same body into NAME-poison, made where it is missing, then delete the message; its id there.

        A Storage Queue has no room for ``reason`` and ``description``: the ledger keeps them.
        """
        put = self._ask(lambda: self._put_poison(message.body.decode()))
        with suppress(QueueUnavailable):  # it comes again, and once more here
            self._delete(message)
        return str(put.id)

    def depth(self) -> int:
        """About how many messages the queue holds, hidden ones included."""
        return int(self._ask(lambda: self._queue.get_queue_properties(**NO_SDK_RETRY)).approximate_message_count or 0)

    def dead_letters(self, most: int) -> list[DeadLetter]:
        """The first messages of NAME-poison, 32 at most: the service shows no more."""
        with suppress(_QueueMissing):
            found = self._ask(lambda: self._poison.peek_messages(min(most, MOST_A_REQUEST), **NO_SDK_RETRY))
            return [DeadLetter(_message(each), None, None) for each in found]
        return []

    def replay(self, message_id: str, *, rewrite: Callable[[bytes], bytes] = bytes) -> bool:
        """Put the dead letter back, then delete it; whether there was one."""
        with self._taken_poison(message_id) as found:
            if found is not None:
                body = rewrite(str(found.content).encode()).decode()
                self._ask(lambda: self._put(self._queue, body))
                self._delete_poison(found)
            return found is not None

    def drop(self, message_id: str) -> bool:
        """Delete the dead letter; whether there was one."""
        with self._taken_poison(message_id) as found:
            if found is not None:
                self._delete_poison(found)
            return found is not None

    def _receive_waiting(self, most: int) -> list[Message]:
        messages: list[Message] = []
        while len(messages) < most:
            try:
                page = self._page(self._queue, most - len(messages), VISIBILITY)
            except GeoAssetsError:
                if messages:  # they are ours already: the next receive meets the trouble
                    break
                raise
            messages += map(_message, page)
            if not page:
                break
        return messages

    def _delete(self, message: Message) -> bool:
        try:
            self._ask(
                lambda: self._queue.delete_message(message.message_id, pop_receipt=message.receipt, **NO_SDK_RETRY)
            )
        except _ReceiptLost:  # deleted by an attempt whose answer was lost, or with another receiver by now
            return False
        return True

    def _put_poison(self, content: str) -> QueueMessage:
        try:
            return self._put(self._poison, content)
        except _QueueMissing:
            with suppress(ResourceExistsError):
                self._poison.create_queue(**NO_SDK_RETRY)
            return self._put(self._poison, content)

    @contextmanager
    def _taken_poison(self, message_id: str) -> Iterator[QueueMessage | None]:
        """The dead letter, hidden from others; those that lay before it show again at once."""
        found, others = self._search_poison(message_id)
        try:
            yield found
        finally:
            for _ in self._pool.map(self._show_poison, others):
                pass

    def _search_poison(self, message_id: str) -> tuple[QueueMessage | None, list[QueueMessage]]:
        others: list[QueueMessage] = []
        with suppress(_QueueMissing):
            while page := self._page(self._poison, MOST_A_REQUEST, _SEARCH_VISIBILITY):
                found = [each for each in page if each.id == message_id]
                others += [each for each in page if each.id != message_id]
                if found:
                    return found[0], others
        return None, others

    def _show_poison(self, message: QueueMessage) -> None:
        with suppress(GeoAssetsError):  # it shows by itself in half a minute
            self._ask(lambda: self._show(self._poison, message.id, message.pop_receipt))

    def _delete_poison(self, message: QueueMessage) -> None:
        with suppress(_ReceiptLost):
            self._ask(lambda: self._poison.delete_message(message.id, pop_receipt=message.pop_receipt, **NO_SDK_RETRY))

    def _page(self, queue: QueueClient, most: int, visibility: timedelta) -> list[QueueMessage]:
        options: dict[str, Any] = {
            "messages_per_page": min(most, MOST_A_REQUEST),
            "max_messages": min(most, MOST_A_REQUEST),
            "visibility_timeout": int(visibility.total_seconds()),
        }
        return self._ask(lambda: list(queue.receive_messages(**options, **NO_SDK_RETRY)))

    def _put(self, queue: QueueClient, content: str) -> QueueMessage:
        with _queue_errors(queue.queue_name):
            return queue.send_message(content, time_to_live=_NEVER, **NO_SDK_RETRY)

    def _show(self, queue: QueueClient, message_id: str, receipt: str | None) -> None:
        queue.update_message(message_id, pop_receipt=receipt, visibility_timeout=0, **NO_SDK_RETRY)

    def _ask(self, request: Callable[[], T]) -> T:
        """The service's answer, asked for again where it did not serve."""
        for attempt in stamina.retry_context(
            on=_may_pass, attempts=_ATTEMPTS, timeout=_RETRY_SECONDS, wait_initial=0.2
        ):
            with attempt, _queue_errors(self.name):
                return request()
        raise AssertionError("unreachable: stamina raises or returns")


class _QueueMissing(QueueUnavailable):
    """The queue does not exist."""


class _ReceiptLost(QueueUnavailable):
    """The message is deleted, or another receiver has it."""


def _may_pass(error: Exception) -> bool:
    return isinstance(error, QueueUnavailable) and not isinstance(error, _QueueMissing | _ReceiptLost)


def _message(found: QueueMessage) -> Message:
    return Message(
        body=str(found.content).encode(),
        message_id=str(found.id),
        delivery_count=found.dequeue_count or 0,
        enqueued_at=found.inserted_on,
        correlation_id=None,
        receipt=found.pop_receipt,
    )


@contextmanager
def _queue_errors(name: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; ``name`` is the queue concerned."""
    try:
        yield
    except AzureError as error:
        raise _translated(error, name) from error


def _translated(error: AzureError, name: str) -> GeoAssetsError:
    code = str(getattr(getattr(error, "error_code", None), "value", getattr(error, "error_code", None)))
    status = error.status_code if isinstance(error, HttpResponseError) else None
    message = (error.message or str(error)).splitlines()[0]
    if code == "QueueNotFound":
        return _QueueMissing(
            f"Queue `{name}` does not exist.", remedy=f"Create it with `az storage queue create --name {name}`."
        )
    if code in ("MessageNotFound", "PopReceiptMismatch"):
        return _ReceiptLost(f"A message of queue {name} is no longer ours: {message}.")
    if isinstance(error, ClientAuthenticationError) or status in (401, 403):
        return Unauthorized(f"The store refuses access to queue {name}: {message}.")
    return QueueUnavailable(f"Queue {name} failed: {message}.")
