"""Blob events: what a message of Event Grid says, in either schema.

Here: the value. Not here: queues (`geo_assets.resources`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class BlobEvent:
    """A hint that a blob came, changed or went.

    ``account`` is the storage account's name, ``name`` the blob's full name in its container, percent-decoded.
    ``sequencer`` is padded, so that it compares as a string among the events of one blob. ``etag`` has no quotes.
    """

    kind: Literal["created", "deleted"]
    account: str
    container: str
    name: str
    event_id: str
    event_time: datetime
    sequencer: str | None = None
    etag: str | None = None
    correlation_id: str | None = None
