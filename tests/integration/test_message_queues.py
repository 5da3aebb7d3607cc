"""What both kinds of queue promise, on Azurite and on the Service Bus peer with the real SDKs, and what each adds."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.storage.queue import AccountSasPermissions, QueueClient, ResourceTypes, generate_account_sas

from geo_assets.errors import InvalidConfiguration, QueueUnavailable, Unauthorized
from geo_assets.events.message_queue import MessageQueue
from geo_assets.events.service_bus import ServiceBusQueue
from geo_assets.models import Message
from geo_assets.resources.queues import MessageQueues
from geo_assets.sources.rules import QueueRule
from tests.peers.service_bus import ServiceBusPeer
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, Azurite, free_port
from tests.waiting import wait_until

SOON = timedelta(seconds=2)
AT_ONCE = timedelta(0)
BODIES = (b'{"a": "<\xc3\xa9>"}', b"bm90IGRlY29kZWQ=", b"no JSON at all")


@dataclass(frozen=True)
class Line:
    """A queue under test, and what puts messages into its other end."""

    queue: MessageQueue
    rule: QueueRule
    send: Callable[..., None]

    def receive(self, most: int = 10) -> list[Message]:
        """All of some messages that were sent, though they may come bit by bit."""
        messages: list[Message] = []
        while more := self.queue.receive(most - len(messages), wait=SOON if not messages else AT_ONCE):
            messages += more
            if len(messages) == most:
                break
        return messages


@pytest.fixture(params=["storage_queue", "service_bus"])
def line(request: pytest.FixtureRequest) -> Line:
    """A queue of either kind."""
    found: Line = request.getfixturevalue(request.param + "_line")
    return found


@pytest.fixture
def storage_queue_line(event_queue: QueueClient, storage: Azurite) -> Iterator[Line]:
    def send(*bodies: bytes) -> None:
        for body in bodies:
            event_queue.send_message(body.decode())

    rule = QueueRule(name="arrivals", storage_queue=event_queue.queue_name)
    with MessageQueues().open(rule) as queue:
        yield Line(queue, rule, send)


@pytest.fixture
def service_bus_line(peer: ServiceBusPeer) -> Iterator[Line]:
    rule = QueueRule(name="arrivals", service_bus=new_entity(peer))
    with MessageQueues().open(rule) as queue:
        yield Line(queue, rule, partial(peer.send, rule.queue))


@pytest.fixture
def storage(queue_service: Azurite, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    for name, value in queue_service.environment.items():
        monkeypatch.setenv(name, value)
    return queue_service


@pytest.fixture
def peer(running_peer: ServiceBusPeer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBusPeer]:
    """The peer without faults, named by the environment."""
    monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", running_peer.connection_string)
    yield running_peer
    running_peer.reset()


def new_entity(peer: ServiceBusPeer, prefix: str = "") -> str:
    name = prefix + uuid.uuid4().hex
    peer.add(name)
    return name


def test_messages_come_as_they_lie_in_the_queue_and_are_gone_when_completed(line: Line) -> None:
    line.send(*BODIES)
    messages = line.receive()
    assert sorted(message.body for message in messages) == sorted(BODIES)
    assert {message.delivery_count for message in messages} == {1}
    assert all(message.enqueued_at is not None for message in messages)
    assert line.queue.complete(messages) == []
    assert line.queue.receive(10, wait=AT_ONCE) == []
    assert line.queue.depth() == (0 if line.rule.path == "storage_queue" else None)


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
    rule = QueueRule.model_validate({"name": "nowhere", line.rule.path: "no-such-queue"})
    with (
        MessageQueues().open(rule) as queue,
        pytest.raises(QueueUnavailable, match=r"no-such-queue.*Remedy: Create it"),
    ):
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
        pytest.raises(QueueUnavailable, match="Queue events failed"),
    ):
        queue.receive(1, wait=AT_ONCE)


def test_a_plain_http_address_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", f"http://127.0.0.1:{free_port()}/{AZURITE_ACCOUNT}")
    with (
        pytest.raises(InvalidConfiguration, match="needs a key"),
        MessageQueues().open(QueueRule(name="q", storage_queue="events")),
    ):
        pass


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


@pytest.fixture
def impatient(peer: ServiceBusPeer) -> Iterator[Line]:
    """A Service Bus queue that waits a second for the broker's word."""
    name = new_entity(peer)
    queue = ServiceBusQueue.from_connection_string(peer.connection_string, name, patience=timedelta(seconds=1))
    with queue:
        yield Line(queue, QueueRule(name="arrivals", service_bus=name), partial(peer.send, name))


def test_a_settlement_whose_answer_is_lost_is_of_unknown_outcome(impatient: Line, peer: ServiceBusPeer) -> None:
    impatient.send(b"one")
    messages = impatient.receive(1)
    peer.faults.lost_settle_acks = 1
    assert impatient.queue.complete(messages) == messages
    assert peer.messages(impatient.rule.queue) == 0


def test_a_settlement_that_is_lost_is_made_again(impatient: Line, peer: ServiceBusPeer) -> None:
    impatient.send(b"one")
    peer.faults.lost_settlements = 1
    assert impatient.queue.complete(impatient.receive(1)) == []
    assert peer.messages(impatient.rule.queue) == 0


def test_a_message_whose_lock_is_lost_comes_again(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    service_bus_line.send(b"one")
    messages = service_bus_line.receive(1)
    peer.faults.lost_locks = 1
    wait_until(lambda: peer.counts["lock_expired"] > 0, "the lock is lost")
    assert service_bus_line.queue.complete(messages) == messages
    with pytest.raises(QueueUnavailable, match="lock"):
        service_bus_line.queue.dead_letter(messages[0], reason="r", description="d")
    (again,) = service_bus_line.receive(1)
    assert again.delivery_count == 2
    assert service_bus_line.queue.complete([again]) == []


def test_locks_outlast_work_that_is_longer_than_they_are(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    peer.rules.lock_seconds = 2
    service_bus_line.send(b"one", b"two")
    messages = service_bus_line.receive(2)
    renewed = peer.counts["renew-lock"]
    wait_until(lambda: peer.counts["renew-lock"] >= renewed + 4, "both locks are renewed twice", seconds=20)
    assert service_bus_line.queue.complete(messages) == []
    assert peer.counts["lock_expired"] == 0


def test_connections_that_end_amid_a_batch_cost_no_message(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    bodies = {b"%d" % number for number in range(20)}
    service_bus_line.send(*bodies)
    messages = service_bus_line.receive(20)
    peer.faults.settlements_before_kill = 5
    unknown = service_bus_line.queue.complete(messages)
    assert peer.messages(service_bus_line.rule.queue) <= len(unknown)
    service_bus_line.send(b"after")
    left = service_bus_line.receive(20)
    assert b"after" in {message.body for message in left}
    assert service_bus_line.queue.complete(left) == []


def test_the_broker_refuses_our_token(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    peer.faults.refused_tokens = 100
    with pytest.raises(Unauthorized, match=r"AZURE_SERVICEBUS"):
        service_bus_line.queue.receive(1, wait=SOON)


def test_dead_letters_of_our_own_and_of_the_broker_say_why(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    dead_letters(service_bus_line, b"ours")
    service_bus_line.send(b"the broker's")
    peer.rules.most_deliveries = 1
    service_bus_line.queue.abandon(*service_bus_line.receive(1))
    ours, brokers = service_bus_line.queue.dead_letters(10)
    assert (ours.message.body, ours.reason, ours.description) == (b"ours", "malformed_message", "no JSON")
    assert (brokers.message.body, brokers.reason) == (b"the broker's", "MaxDeliveryCountExceeded")


def test_a_replayed_message_is_whole(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    sent = ServiceBusMessage(
        BODIES[0], message_id="id", correlation_id="c", subject="s", content_type="t", application_properties={"a": 1}
    )
    with (
        ServiceBusClient.from_connection_string(peer.connection_string) as client,
        client.get_queue_sender(service_bus_line.rule.queue) as sender,
    ):
        sender.send_messages([sent])
    (message,) = service_bus_line.receive(1)
    assert (message.message_id, message.correlation_id) == ("id", "c")
    service_bus_line.queue.dead_letter(message, reason="r", description="d")
    peer.faults.busy_sends = 1
    assert service_bus_line.queue.replay("id")
    (again,) = service_bus_line.receive(1)
    found = again.receipt.message
    assert again.message_id != "id"  # a queue that detects duplicates would drop it
    assert (again.body, again.correlation_id, found.subject, found.content_type) == (BODIES[0], "c", "s", "t")
    assert found.application_properties == {b"a": 1}


def test_what_died_in_a_subscription_is_replayed_to_its_topic(peer: ServiceBusPeer) -> None:
    topic = f"topic-{uuid.uuid4().hex}"
    first, second = new_entity(peer, f"{topic}/"), new_entity(peer, f"{topic}/")
    with MessageQueues().open(QueueRule(name="arrivals", service_bus=first)) as queue:
        peer.send(topic, b"one")
        (message,) = queue.receive(1, wait=SOON)
        assert queue.replay(queue.dead_letter(message, reason="r", description="d"))
        assert [message.body for message in queue.receive(1, wait=SOON)] == [b"one"]
    assert peer.messages(second) == 2


def test_a_batch_is_shared_by_several_receivers(service_bus_line: Line, peer: ServiceBusPeer) -> None:
    bodies = {b"%d" % number for number in range(200)}
    service_bus_line.send(*bodies)
    wait_until(lambda: peer.messages(service_bus_line.rule.queue) == 200, "all are sent")
    messages = service_bus_line.receive(200)
    assert {message.body for message in messages} == bodies
    assert len({id(message.receipt.receiver) for message in messages}) == 4
    assert service_bus_line.queue.complete(messages) == []
    assert peer.messages(service_bus_line.rule.queue) == 0


def test_a_connection_string_for_another_queue_is_told(peer: ServiceBusPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", peer.connection_string + "EntityPath=another;")
    rule = QueueRule(name="q", service_bus="events")
    with pytest.raises(InvalidConfiguration, match="EntityPath"), MessageQueues().open(rule):
        pass


@pytest.mark.parametrize("credential", ["key", "SAS", "connection string with SAS", "connection string elsewhere"])
def test_a_storage_queue_is_opened_by_each_credential(
    credential: str, event_queue: QueueClient, queue_service: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    sas = generate_account_sas(
        AZURITE_ACCOUNT,
        AZURITE_KEY,
        ResourceTypes(object=True, container=True),
        AccountSasPermissions(read=True, process=True, delete=True),
        datetime.now(UTC) + timedelta(hours=1),
    )
    elsewhere = queue_service.connection_string.replace(f":{queue_service.queue_port}/", f":{free_port()}/")
    variables = {
        "key": {"AZURE_STORAGE_QUEUE_URL": queue_service.queue_url, "AZURE_STORAGE_KEY": AZURITE_KEY},
        "SAS": {"AZURE_STORAGE_QUEUE_URL": queue_service.queue_url, "AZURE_STORAGE_SAS_TOKEN": sas},
        "connection string with SAS": {
            "AZURE_STORAGE_CONNECTION_STRING": f"QueueEndpoint={queue_service.queue_url};SharedAccessSignature={sas}"
        },
        "connection string elsewhere": {
            "AZURE_STORAGE_CONNECTION_STRING": elsewhere,
            "AZURE_STORAGE_QUEUE_URL": queue_service.queue_url,
        },
    }
    for name, value in variables[credential].items():
        monkeypatch.setenv(name, value)
    event_queue.send_message("one")
    with MessageQueues().open(QueueRule(name="q", storage_queue=event_queue.queue_name)) as queue:
        messages = queue.receive(1, wait=AT_ONCE)
        assert queue.complete(messages) == []
    assert [message.body for message in messages] == [b"one"]


def test_a_dead_letter_put_twice_is_there_twice_and_each_is_dropped(line: Line) -> None:
    """As after a crash between its copy and its deletion, or two daemons by mistake."""
    ids = [dead_letters(line, b"same")[b"same"], dead_letters(line, b"same")[b"same"]]
    assert [line.queue.drop(each) for each in ids] == [True, True]
    assert line.queue.dead_letters(10) == []
