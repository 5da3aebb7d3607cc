"""Events as Event Grid writes them, for tests that send some: of a blob at an address, in its own schema."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

NUMBERS = itertools.count(1)


def blob_event(kind: str, container_url: str, name: str, **data: Any) -> bytes:
    """The message that tells that the blob ``name`` was "Created" or "Deleted"."""
    number = next(NUMBERS)
    return json.dumps(
        {
            "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
            "subject": "/blobServices/default/containers/c/blobs/n",
            "eventType": f"Microsoft.Storage.Blob{kind}",
            "eventTime": datetime.now(UTC).isoformat(),
            "id": f"event-{number}",
            "data": {
                "api": "PutBlob" if kind == "Created" else "DeleteBlob",
                "url": f"{container_url}/{quote(name)}",
                "sequencer": f"{number:032x}",
                **data,
            },
            "dataVersion": "",
            "metadataVersion": "1",
        }
    ).encode()
