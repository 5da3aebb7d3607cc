"""An Azure Service Bus namespace for the real azure-servicebus SDK: there is no emulator without Docker.

It speaks AMQP 1.0 with claims-based security, peek-lock, batches, dead letters, lock renewal, deferral, scheduling and
subscriptions, and has faults to switch on. It shows that we speak the protocol, not that Azure behaves so.
In a test: `with ServiceBusPeer("events", "topic/subscription") as peer:`; as a process of its own:
`python -m tests.peers.service_bus --port 5672 --entity events`.

Here: connections, links, faults. Not here: messages and locks (`service_bus_broker`), encodings (`service_bus_wire`).
"""

import argparse
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Self

from proton import Condition, Delivery, Endpoint, Handler, Link, Message, symbol
from proton.reactor import Container

from tests.peers.service_bus_broker import DEAD_LETTERS, Broker, Entity, Rules
from tests.peers.service_bus_wire import (
    LOCK_LOST,
    VENDOR,
    answer_operation,
    answer_token,
    decode_message,
    decode_sent,
    encode_delivery,
    read_outcome,
)
from tests.services import free_port

_TICK = 0.02
_CREDIT = 1000
_TOKENS = "$cbs"
_MANAGEMENT = "/$management"
_LARGEST_MESSAGE = 1024 * 1024


@dataclass
class Faults:
    """How many times each is still to happen; a test sets them at any time."""

    lost_settle_acks: int = 0  # settled, but not answered
    lost_settlements: int = 0  # neither settled nor answered
    lost_send_acks: int = 0  # stored, but not answered: the sender sends again
    doubled_messages: int = 0  # stored twice
    busy_sends: int = 0
    refused_tokens: int = 0
    settlements_before_kill: int = 0  # then all connections end
    killed_connections: int = 0  # all connections end, once
    lost_locks: int = 0  # all locks end, once
    slow_answers: float = 0.0  # seconds that each settlement's answer takes
    silent_entity: str = ""  # whoever wants to receive from it gets no answer

    def take(self, name: str) -> bool:
        """Whether the fault is to happen now; it then has happened once."""
        left: int = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0


class ServiceBusPeer:
    """The namespace: its entities are named ``queue`` or ``topic/subscription``."""

    def __init__(self, *entities: str, port: int | None = None, rules: Rules | None = None) -> None:
        self.port = port or free_port()
        self.rules = rules or Rules()
        self.faults = Faults()
        self._broker = Broker(self.rules)
        for entity in entities:
            self._broker.add(entity)
        self._server = _Server(self.port, self._broker, self.faults)

    @property
    def connection_string(self) -> str:
        """What AZURE_SERVICEBUS_CONNECTION_STRING takes."""
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName=peer;SharedAccessKey=a2V5;"
            "UseDevelopmentEmulator=true;"
        )

    @property
    def counts(self) -> Counter[str]:
        """What happened so far: outcomes, operations, deliveries, tokens."""
        return self._broker.counts

    def add(self, entity: str) -> None:
        """Add an entity."""
        self._broker.add(entity)

    def send(self, address: str, *bodies: bytes) -> None:
        """Put messages into a queue or topic without the SDK, whose senders take a second to open."""
        for body in bodies:
            message = Message(id=uuid.uuid4().hex, body=body, inferred=True)
            self._server.soon(partial(self._broker.store, address, message.encode()))

    def reset(self) -> None:
        """Have no faults, counts and entities, and the rules of the beginning."""
        for values, initial in ((self.faults, Faults()), (self.rules, Rules())):
            vars(values).update(vars(initial))
        self._broker.clear()

    def messages(self, name: str) -> int:
        """How many messages lie in the entity, locked ones included."""
        return len(self._entity(name).messages)

    def dead_letters(self, name: str) -> int:
        """How many dead letters the entity has."""
        return len(self._entity(name, DEAD_LETTERS).messages)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _entity(self, name: str, suffix: str = "") -> Entity:
        found = self._broker.entity(name.replace("/", "/subscriptions/") + suffix)
        assert found is not None, f"the peer has no {name}"
        return found


class _Later(Handler):  # type: ignore[misc]
    """Calls back when its time has come."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def on_timer_task(self, _: Any) -> None:
        self._call()


class _Server(Handler):  # type: ignore[misc]
    """The network's end: one thread with proton's event loop."""

    def __init__(self, port: int, broker: Broker, faults: Faults) -> None:
        super().__init__()
        self._url = f"127.0.0.1:{port}"
        self._broker = broker
        self._faults = faults
        self._receivers: list[Any] = []  # links by which clients receive
        self._reply_links: dict[tuple[str, str], Any] = {}
        self._connections: list[Any] = []
        self._listening = Event()
        self._stopping = Event()
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = Thread(target=lambda: Container(self).run(), name="service-bus-peer", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError(f"the Service Bus peer does not listen on {self._url}")

    def stop(self) -> None:
        """End all connections and the thread."""
        self._stopping.set()
        self._thread.join(10)

    def soon(self, call: Callable[[], None]) -> None:
        """Have the server's thread call this."""
        self._inbox.put(call)

    def on_reactor_init(self, event: Any) -> None:
        self._container = event.container
        self._acceptor = self._container.listen(self._url)
        self._after(_TICK, self._tick)
        self._listening.set()

    def on_connection_remote_open(self, event: Any) -> None:
        event.connection.container = "service-bus-peer"
        event.connection.open()
        self._connections.append(event.connection)

    def on_session_remote_open(self, event: Any) -> None:
        event.session.open()

    def on_session_remote_close(self, event: Any) -> None:
        event.session.close()

    def on_connection_remote_close(self, event: Any) -> None:
        event.connection.close()
        self._forget(event.connection)

    def on_transport_closed(self, event: Any) -> None:
        self._forget(event.connection)

    def on_link_remote_open(self, event: Any) -> None:
        link = event.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        link.rcv_settle_mode, link.snd_settle_mode = link.remote_rcv_settle_mode, link.remote_snd_settle_mode
        link.max_message_size = _LARGEST_MESSAGE
        address = _address(link)
        if self._faults.silent_entity and address.endswith(self._faults.silent_entity):
            return
        link.open()
        if _is_request_link(address):
            if link.is_sender:
                self._reply_links[_reply_key(link)] = link
        elif link.is_sender and self._broker.entity(address) is not None:
            self._receivers.append(link)
            self._deliver()
        elif link.is_sender or not self._broker.targets(address):
            link.condition = _condition("amqp:not-found", f"The messaging entity '{address}' could not be found.")
            link.close()
            return
        if link.is_receiver:
            link.flow(_CREDIT)

    def on_link_remote_close(self, event: Any) -> None:
        self._receivers = [link for link in self._receivers if link != event.link]  # locks stay until they run out
        event.link.close()

    on_link_remote_detach = on_link_remote_close

    def on_link_flow(self, event: Any) -> None:
        if event.link.is_sender:
            self._deliver()

    def on_delivery(self, event: Any) -> None:
        delivery, link = event.delivery, event.link
        if link.is_receiver:
            if delivery.readable and not delivery.partial:
                self._take(link, delivery)
        elif delivery.updated and delivery.remote_state:
            self._settle(link, delivery)

    def _take(self, link: Any, delivery: Any) -> None:
        """A message or a request came in."""
        encoded = bytes(link.recv(delivery.pending))
        link.advance()
        address = _address(link)
        if _is_request_link(address):
            _answer(delivery, Delivery.ACCEPTED)
            self._reply(link, address, decode_message(encoded))
        elif self._faults.take("busy_sends"):
            _answer(delivery, Delivery.REJECTED, VENDOR + "server-busy")
        else:
            for each in decode_sent(encoded):
                for _ in range(2 if self._faults.take("doubled_messages") else 1):
                    self._broker.store(address, each)
            if not self._faults.take("lost_send_acks"):
                _answer(delivery, Delivery.ACCEPTED)
        if link.credit < _CREDIT // 2:
            link.flow(_CREDIT)
        self._deliver()

    def _reply(self, link: Any, address: str, request: Any) -> None:
        if address == _TOKENS:
            answer = answer_token(accepted=not self._faults.take("refused_tokens"))
        else:
            answer = answer_operation(self._broker, address.removesuffix(_MANAGEMENT), request)
        answer.correlation_id = request.id
        reply_link = self._reply_links.get(_reply_key(link))
        if reply_link is not None:
            reply_link.send(answer)

    def _deliver(self) -> None:
        """Send what waits to those who have credit."""
        for link in self._receivers:
            entity = self._broker.entity(_address(link))
            while entity is not None and link.state & Endpoint.LOCAL_ACTIVE and link.credit > 0:
                stored = entity.lock_next()
                if stored is None:
                    break
                delivery = link.delivery(stored.lock)
                link.stream(encode_delivery(stored))
                link.advance()
                self._broker.counts["delivered"] += 1
                if link.remote_snd_settle_mode == Link.SND_SETTLED:  # receive-and-delete
                    entity.settle(str(stored.lock), "completed")
                    delivery.settle()
            if link.drain_mode:
                link.drained()

    def _settle(self, link: Any, delivery: Any) -> None:
        """A receiver says what became of a message."""
        if self._faults.take("lost_settlements"):
            return
        if self._faults.settlements_before_kill == 1:
            self._faults.killed_connections = 1
        self._faults.take("settlements_before_kill")
        entity = self._broker.entity(_address(link))
        if entity is None or not entity.holds(delivery.tag):
            self._broker.counts["lock_lost"] += 1
            _answer(delivery, Delivery.REJECTED, LOCK_LOST)
            return
        state = delivery.remote_state
        outcome, why = read_outcome(delivery)
        entity.settle(delivery.tag, outcome, **why)
        if not self._faults.take("lost_settle_acks"):
            if self._faults.slow_answers:
                self._after(self._faults.slow_answers, lambda: _answer(delivery, state))
            else:
                _answer(delivery, state)
        self._deliver()

    def _tick(self) -> None:
        if self._stopping.is_set():
            self._acceptor.close()
            self._container.stop()
            return
        while not self._inbox.empty():
            self._inbox.get()()
        no_lock_holds = self._faults.take("lost_locks")
        for entity in self._broker:
            entity.pass_time(no_lock_holds=no_lock_holds)
        if self._faults.take("killed_connections"):
            for connection in self._connections:
                connection.condition = _condition("amqp:connection:forced", "a fault")
                connection.close()
                self._forget(connection)
        self._deliver()
        self._after(_TICK, self._tick)

    def _forget(self, connection: Any) -> None:
        self._receivers = [link for link in self._receivers if link.connection != connection]
        self._connections = [each for each in self._connections if each != connection]

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._container.schedule(seconds, _Later(call))


def _condition(name: str, description: str) -> Any:
    return Condition(name, description, {symbol("peer"): True})  # the SDK fails on a condition without information


def _answer(delivery: Any, state: Any, error: str | None = None) -> None:
    if error is not None:
        delivery.local.condition = _condition(error, "a refusal of the peer")
    delivery.update(state)
    delivery.settle()


def _address(link: Any) -> str:
    return str((link.remote_source if link.is_sender else link.remote_target).address or "")


def _is_request_link(address: str) -> bool:
    return address == _TOKENS or address.lower().endswith(_MANAGEMENT)


def _reply_key(link: Any) -> tuple[str, str]:
    return str(link.connection.remote_container), _address(link)


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(description="An Azure Service Bus namespace to test against.")
    parser.add_argument("--port", type=int, default=5672)
    parser.add_argument("--entity", action="append", default=[], help="queue, or topic/subscription; repeatable")
    parser.add_argument("--lock-seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    rules = Rules(lock_seconds=arguments.lock_seconds)
    with ServiceBusPeer(*(arguments.entity or ["blob-events"]), port=arguments.port, rules=rules):
        Event().wait()


if __name__ == "__main__":
    main()
