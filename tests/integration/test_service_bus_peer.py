"""The Service Bus peer, spoken to by the SDK alone: what our queues do not use, but others' code may."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiveMode

from tests.peers.service_bus import ServiceBusPeer


@pytest.fixture
def queue(running_peer: ServiceBusPeer) -> Iterator[str]:
    name = uuid.uuid4().hex
    running_peer.add(name)
    yield name
    running_peer.reset()


@pytest.fixture
def client(running_peer: ServiceBusPeer) -> Iterator[ServiceBusClient]:
    with ServiceBusClient.from_connection_string(running_peer.connection_string, try_timeout=1) as client:
        yield client


def test_messages_are_scheduled_cancelled_and_deferred(client: ServiceBusClient, queue: str) -> None:
    with client.get_queue_sender(queue) as sender, client.get_queue_receiver(queue, max_wait_time=1) as receiver:
        later = datetime.now(UTC) + timedelta(hours=1)
        numbers = sender.schedule_messages([ServiceBusMessage("kept"), ServiceBusMessage("cancelled")], later)
        sender.cancel_scheduled_messages(numbers[1])
        assert [str(message) for message in receiver.peek_messages(10)] == ["kept"]
        sender.schedule_messages(ServiceBusMessage("soon"), datetime.now(UTC) + timedelta(seconds=0.2))
        (message,) = receiver.receive_messages()
        receiver.defer_message(message)
        (again,) = receiver.receive_deferred_messages([message.sequence_number or 0])
        assert (str(again), again.delivery_count) == ("soon", 1)
        receiver.complete_message(again)
        assert [str(message) for message in receiver.peek_messages(10, sequence_number=1)] == ["kept"]


def test_a_batch_is_as_many_messages_and_what_is_received_and_deleted_is_gone(
    client: ServiceBusClient, running_peer: ServiceBusPeer, queue: str
) -> None:
    with (
        client.get_queue_sender(queue) as sender,
        client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver,
    ):
        sender.send_messages([ServiceBusMessage(f"{number}") for number in range(50)])
        messages = receiver.receive_messages(50, max_wait_time=2)
        assert [str(message) for message in messages] == [f"{number}" for number in range(50)]
    assert running_peer.messages(queue) == 0


def test_what_is_sent_is_stored_twice_where_the_answer_is_lost_or_the_fault_is_on(
    client: ServiceBusClient, running_peer: ServiceBusPeer, queue: str
) -> None:
    with client.get_queue_sender(queue) as sender:
        running_peer.faults.lost_send_acks = 1
        sender.send_messages(ServiceBusMessage("sent again by the SDK"))
        running_peer.faults.doubled_messages = 1
        sender.send_messages(ServiceBusMessage("stored twice by the peer"))
    assert running_peer.messages(queue) == 4


def test_slow_answers_arrive(client: ServiceBusClient, running_peer: ServiceBusPeer, queue: str) -> None:
    running_peer.send(queue, b"one")
    running_peer.faults.slow_answers = 0.3
    with client.get_queue_receiver(queue) as receiver:
        (message,) = receiver.receive_messages(1, max_wait_time=2)
        receiver.complete_message(message)
    assert (running_peer.messages(queue), running_peer.counts["lock_lost"]) == (0, 0)
