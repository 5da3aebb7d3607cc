"""What both kinds of queue promise, on Azurite and on the Service Bus peer with the real SDKs, and what each adds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from azure.storage.queue import QueueClient

from geo_assets.errors import InvalidConfiguration, QueueUnavailable, Unauthorized
from geo_assets.queue_rules import QueueRule
from geo_assets.resources.message_queue import Message, MessageQueue
from geo_assets.resources.message_queues import MessageQueues
from tests.services import AZURITE_ACCOUNT, Azurite, free_port

SOON = timedelta(seconds=2)
AT_ONCE = timedelta(0)
BODIES = (b'{"a": "<\xc3\xa9>"}', b"bm90IGRlY29kZWQ=", b"no JSON at all")


@dataclass(frozen=True)
class Line:
    """A queue under test, and the other end of it."""

    queue: MessageQueue
    rule: QueueRule
    sender: QueueClient

    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.sender.send_message(body.decode())

    def receive(self, most: int = 10) -> list[Message]:
        return self.queue.receive(most, wait=SOON)


@pytest.fixture
def line(event_queue: QueueClient, storage: Azurite) -> Iterator[Line]:
    rule = QueueRule(name="arrivals", storage_queue=event_queue.queue_name)
    with MessageQueues().open(rule) as queue:
        yield Line(queue, rule, event_queue)


@pytest.fixture
def storage(queue_service: Azurite, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    for name, value in queue_service.environment.items():
        monkeypatch.setenv(name, value)
    return queue_service


def test_messages_come_as_they_lie_in_the_queue_and_are_gone_when_completed(line: Line) -> None:
    line.send(*BODIES)
    messages = line.receive()
    assert sorted(message.body for message in messages) == sorted(BODIES)
    assert {message.delivery_count for message in messages} == {1}
    assert all(message.enqueued_at is not None for message in messages)
    assert line.queue.complete(messages) == []
    assert line.queue.receive(10, wait=AT_ONCE) == []
    assert line.queue.depth() in (0, None)


def test_more_messages_than_one_request_brings(line: Line) -> None:
    line.send(*[b"%d" % number for number in range(70)])
    messages = line.receive(65)
    assert len(messages) == 65
    assert line.queue.complete(messages) == []
    assert len(line.receive(65)) == 5


def test_an_abandoned_message_comes_again_with_a_higher_count(line: Line) -> None:
    line.send(b"one")
    (message,) = line.receive()
    line.queue.abandon(message)
    (again,) = line.receive()
    assert (again.body, again.delivery_count) == (b"one", 2)


def test_a_dead_letter_is_whole_and_leaves_the_others_alone(line: Line) -> None:
    line.send(b"bad", b"good")
    messages = {message.body: message for message in line.receive()}
    dead_id = line.queue.dead_letter(messages[b"bad"], reason="malformed_message", description="no JSON")
    assert line.queue.complete([messages[b"good"]]) == []
    (dead,) = line.queue.dead_letters(10)
    assert (dead.message.body, dead.message.message_id) == (b"bad", dead_id)
    assert line.queue.receive(10, wait=AT_ONCE) == []


def test_a_dead_letter_is_replayed_once_by_its_id(line: Line) -> None:
    ids = dead_letters(line, b"first", b"second")
    assert line.queue.replay(ids[b"second"])
    assert not line.queue.replay(ids[b"second"])
    (again,) = line.receive()
    assert again.body == b"second"
    assert [dead.message.body for dead in line.queue.dead_letters(10)] == [b"first"]


def test_a_dead_letter_is_dropped_by_its_id(line: Line) -> None:
    ids = dead_letters(line, b"first", b"second")
    assert line.queue.drop(ids[b"second"])
    assert not line.queue.drop(ids[b"second"])
    assert [dead.message.body for dead in line.queue.dead_letters(10)] == [b"first"]
    assert line.queue.receive(10, wait=AT_ONCE) == []


def test_a_queue_without_dead_letters_has_none(line: Line) -> None:
    assert line.queue.dead_letters(10) == []
    assert not line.queue.replay("some id")
    assert not line.queue.drop("some id")


def test_a_message_that_is_no_longer_ours_is_of_unknown_outcome_and_stays_with_its_new_receiver(line: Line) -> None:
    line.send(b"one")
    (stale,) = line.receive()
    line.queue.abandon(stale)
    (held,) = line.receive()
    assert line.queue.complete([stale]) == [stale]
    line.queue.abandon(stale)
    assert line.queue.receive(10, wait=AT_ONCE) == []
    assert line.queue.complete([held]) == []


def test_a_queue_that_is_not_there_says_what_to_do(line: Line) -> None:
    field = line.rule.path
    rule = QueueRule.model_validate({"name": "nowhere", field: "no-such-queue"})
    with MessageQueues().open(rule) as queue, pytest.raises(QueueUnavailable, match=r"no-such-queue.*Remedy: Make it"):
        queue.receive(1, wait=SOON)


def dead_letters(line: Line, *bodies: bytes) -> dict[bytes, str]:
    """The ids among the dead letters of messages sent and dead-lettered."""
    line.send(*bodies)
    return {
        message.body: line.queue.dead_letter(message, reason="malformed_message", description="no JSON")
        for message in line.receive()
    }


def test_a_storage_queue_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", f"http://127.0.0.1:{free_port()}/{AZURITE_ACCOUNT}")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    with (
        MessageQueues().open(QueueRule(name="q", storage_queue="events")) as queue,
        pytest.raises(QueueUnavailable, match="queue events failed"),
    ):
        queue.receive(1, wait=AT_ONCE)


def test_a_storage_queue_refuses_a_wrong_key(storage: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", storage.queue_url)
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    with (
        MessageQueues().open(QueueRule(name="q", storage_queue="events")) as queue,
        pytest.raises(Unauthorized, match="events"),
    ):
        queue.receive(1, wait=AT_ONCE)


@pytest.mark.parametrize("field", ["storage_queue", "service_bus"])
def test_a_service_that_is_not_configured_is_named(field: str) -> None:
    rule = QueueRule.model_validate({"name": "q", field: "events"})
    with pytest.raises(InvalidConfiguration, match="Remedy: Set AZURE_S"), MessageQueues().open(rule):
        pass
