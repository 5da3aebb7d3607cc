"""The events that Azure sends of its blobs: one made whole, in either schema, and as a queue holds it.

Here: what an event says. Not here: noticing changes and sending events (`event_grid`).
"""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal
from urllib.parse import quote, urlsplit

Kind = Literal["created", "deleted"]
Schema = Literal["event_grid", "cloud_events"]
Event = dict[str, Any]

ACCOUNT_URL = "https://account.blob.core.windows.net"
_TOPIC = (
    "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/local/"
    "providers/Microsoft.Storage/storageAccounts/{}"
)
_TYPES = {"created": "Microsoft.Storage.BlobCreated", "deleted": "Microsoft.Storage.BlobDeleted"}
_APIS = {"created": "PutBlob", "deleted": "DeleteBlob"}
_OF_CREATED_ONLY = ("eTag", "contentLength", "accessTier")


class _Sequence:
    """Sequencers that increase, within this process and from one to the next."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def next(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return f"{self._last:032x}"


_SEQUENCE = _Sequence()


@dataclass(frozen=True, slots=True)
class BlobChange:
    """What happened to the blob ``name`` (its full name in its container), and when; ``etag`` has no quotes."""

    kind: Kind
    name: str
    etag: str = "0x8DCAFEBABE00000"
    size_bytes: int = 1000
    content_type: str = "image/tiff"
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def make_event(
    change: BlobChange,
    *,
    container: str,
    account_url: str = ACCOUNT_URL,
    schema: Schema = "event_grid",
    api: str | None = None,
    event_id: str | None = None,
    sequencer: str | None = None,
) -> Event:
    """The event of one change. Without ``sequencer`` each call gives a later one, whatever blob it is of."""
    request = str(uuid.uuid4())
    account = account_name(account_url)
    data = {
        "api": api or _APIS[change.kind],
        "clientRequestId": str(uuid.uuid4()),
        "requestId": request,
        "eTag": change.etag,
        "contentType": change.content_type,
        "contentLength": change.size_bytes,
        "blobType": "BlockBlob",
        "accessTier": "Default",
        "url": f"{account_url}/{container}/{quote(change.name)}",
        "sequencer": sequencer or _SEQUENCE.next(),
        "storageDiagnostics": {"batchId": str(uuid.uuid4())},
    }
    if change.kind == "deleted":
        data = {key: value for key, value in data.items() if key not in _OF_CREATED_ONLY}
    event: Event = {
        "topic": _TOPIC.format(account),
        "subject": f"/blobServices/default/containers/{container}/blobs/{change.name}",
        "eventType": _TYPES[change.kind],
        "id": event_id or f"{request[:-12]}{uuid.uuid4().hex[:12]}",
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": f"{change.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z",  # Azure writes seven digits
    }
    return event if schema == "event_grid" else as_cloud_event(event)


def as_cloud_event(event: Mapping[str, Any]) -> Event:
    """The same event in the schema CloudEvents 1.0, as Event Grid translates it."""
    return {
        "source": event["topic"],
        "subject": event["subject"],
        "type": event["eventType"],
        "time": event["eventTime"],
        "id": event["id"],
        "data": event["data"],
        "specversion": "1.0",
    }


def account_name(account_url: str) -> str:
    """The account of a blob service's URL: the host's first label, or the path's first part where emulators have it."""
    parts = urlsplit(account_url)
    return parts.path.strip("/").split("/")[0] or (parts.hostname or "").split(".")[0]


def storage_queue_text(event: Mapping[str, Any]) -> str:
    """The message as a Storage Queue holds it: base64 of the JSON."""
    return base64.b64encode(json.dumps(event).encode()).decode()


def service_bus_body(event: Mapping[str, Any]) -> bytes:
    """The message as Service Bus holds it: the JSON."""
    return json.dumps(event).encode()
