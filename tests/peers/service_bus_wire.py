"""Service Bus' own words on AMQP 1.0: messages as it delivers them, batches, and its request-response operations.

Here: from and to proton's values. Not here: what becomes of a message (`service_bus_broker`), links (`service_bus`).
The operations: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from proton import UNDESCRIBED, Array, Condition, Data, Delivery, Message, int32, symbol, timestamp

from tests.peers.service_bus_broker import Broker, Entity, Outcome, Stored

VENDOR = "com.microsoft:"
LOCK_LOST = VENDOR + "message-lock-lost"
_DATA_SECTION = 0x75
_DESCRIBED = b"\x00\x53"
_OUTCOMES: dict[str, Outcome] = {
    "completed": "completed",
    "abandoned": "abandoned",
    "defered": "deferred",  # so spelled on the wire
    "suspended": "dead_lettered",
}


class OperationRefusedError(Exception):
    """An operation is answered with this status and condition."""

    def __init__(self, status: int, condition: str) -> None:
        super().__init__(condition)
        self.status = status
        self.condition = condition


def encode_delivery(stored: Stored) -> bytes:
    """The message with what the broker says of it."""
    message = stored.message
    message.delivery_count = stored.failed_deliveries
    said = {
        symbol("x-opt-sequence-number"): stored.sequence_number,
        symbol("x-opt-enqueued-time"): _timestamp(stored.enqueued_at),
    }
    if stored.lock is not None:
        said[symbol("x-opt-locked-until")] = _timestamp(stored.locked_until)
    message.annotations = dict(message.annotations or {}) | said
    return bytes(message.encode())


def decode_sent(encoded: bytes) -> list[bytes]:
    """The messages in one transfer: a batch is one message whose Data sections are each a whole message."""
    parts = [value for code, value in _sections(encoded) if code == _DATA_SECTION]
    if parts and all(part[:2] == _DESCRIBED and 0x70 <= part[2] <= 0x78 for part in parts):
        return parts
    return [encoded]


def decode_message(encoded: bytes) -> Message:
    """One message."""
    message = Message()
    message.decode(encoded)
    return message


def read_outcome(delivery: Any) -> tuple[Outcome, dict[str, Any]]:
    """How the receiver ends a delivery, and for a dead letter why."""
    if delivery.remote_state == Delivery.MODIFIED:
        return ("deferred" if delivery.remote.undeliverable else "abandoned"), {}
    if delivery.remote_state == Delivery.REJECTED:
        condition: Condition | None = delivery.remote.condition
        said: dict[str, Any] = {str(key): value for key, value in ((condition and condition.info) or {}).items()}
        why = {"reason": said.get("DeadLetterReason"), "description": said.get("DeadLetterErrorDescription")}
        return "dead_lettered", why
    return ("completed" if delivery.remote_state == Delivery.ACCEPTED else "released"), {}


def answer_token(*, accepted: bool) -> Message:
    """The answer to a put-token of claims-based security."""
    status, description = (202, "Accepted") if accepted else (401, "Unauthorized")
    return Message(properties={"status-code": int32(status), "status-description": description})


def answer_operation(broker: Broker, address: str, request: Message) -> Message:
    """The answer to a request at an entity's $management."""
    operation = str((request.properties or {}).get("operation")).removeprefix(VENDOR)
    broker.counts[operation] += 1
    entity = broker.entity(address)
    try:
        if operation == "schedule-message":
            body: Any = _schedule(broker.targets(address), request.body)
        elif operation in _OPERATIONS and entity is not None:
            body = _OPERATIONS[operation](entity, request.body)
        else:
            raise OperationRefusedError(501, "amqp:not-implemented")
    except OperationRefusedError as refusal:
        return Message(properties=_status(refusal.status, refusal.condition))
    return Message(body=body, properties=_status(204 if body is None else 200))


def _status(status: int, condition: str | None = None) -> dict[str, Any]:
    said = {"statusCode": int32(status), "statusDescription": condition or "OK"}
    return said if condition is None else said | {"errorCondition": symbol(condition)}


def _renew(entity: Entity, body: Any) -> Any:
    until = [_timestamp(entity.renew(lock)) for lock in _held(entity, body)]
    return {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *until)}


def _settle(entity: Entity, body: Any) -> Any:
    for lock in _held(entity, body):
        entity.settle(
            lock,
            _OUTCOMES[body["disposition-status"]],
            reason=body.get("deadletter-reason"),
            description=body.get("deadletter-description"),
        )
    return {}


def _peek(entity: Entity, body: Any) -> Any:
    found = entity.peek(body["from-sequence-number"], int(body["message-count"]))
    return {"messages": [{"message": encode_delivery(stored)} for stored in found]} if found else None


def _receive_deferred(entity: Entity, body: Any) -> Any:
    found = [entity.lock_deferred(number) for number in body["sequence-numbers"]]
    taken = [stored for stored in found if stored is not None and stored.lock is not None]
    if len(taken) < len(found):
        raise OperationRefusedError(404, VENDOR + "message-not-found")
    return {
        "messages": [
            {"lock-token": uuid.UUID(bytes_le=str(stored.lock).encode()), "message": encode_delivery(stored)}
            for stored in taken
        ]
    }


def _schedule(targets: list[Entity], body: Any) -> Any:
    numbers = []
    for each in body["messages"]:
        encoded = bytes(each["message"])
        at = (decode_message(encoded).annotations or {}).get(symbol("x-opt-scheduled-enqueue-time"), 0)
        numbers += [target.put(decode_message(encoded), visible_from=at / 1000) for target in targets][:1]
    return {"sequence-numbers": Array(UNDESCRIBED, Data.LONG, *numbers)}


def _cancel(entity: Entity, body: Any) -> Any:
    for number in body["sequence-numbers"]:
        entity.cancel(number)
    return {}


_OPERATIONS: dict[str, Callable[[Entity, Any], Any]] = {
    "renew-lock": _renew,
    "update-disposition": _settle,
    "peek-message": _peek,
    "receive-by-sequence-number": _receive_deferred,
    "cancel-scheduled-message": _cancel,
}


def _held(entity: Entity, body: Any) -> list[str]:
    """The locks a request names, all still held."""
    locks = [token.bytes_le.decode("latin-1") for token in body["lock-tokens"]]
    if not all(entity.holds(lock) for lock in locks):
        raise OperationRefusedError(410, LOCK_LOST)
    return locks


def _sections(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    while encoded:
        data = Data()
        length = data.decode(encoded)
        data.rewind()
        data.next()
        section = data.get_object()
        yield int(section.descriptor), bytes(section.value) if int(section.descriptor) == _DATA_SECTION else b""
        encoded = encoded[length:]


def _timestamp(seconds: float) -> Any:
    return timestamp(int(seconds * 1000))
