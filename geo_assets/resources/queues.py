"""The queues of events of this deployment as a Dagster resource.

Here: which account and namespace they are of. Not here: opening one (`geo_assets.events.message_queues`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import Field, SecretStr

from geo_assets.configured import AzureResource
from geo_assets.events.message_queue import MessageQueue
from geo_assets.events.message_queues import open_queue
from geo_assets.sources.rules import QueueRule


class MessageQueues(AzureResource):
    """Opens the queue of a rule: in the storage account of the blobs, or in the configured Service Bus namespace."""

    queue_url: str = Field(default="", description="URL of the account's queues, where it is not as account_url's.")
    service_bus_connection_string: str = Field(
        default="", description="Of the Service Bus namespace. Or give service_bus_namespace."
    )
    service_bus_namespace: str = Field(
        default="",
        description="Host of the namespace. Empty, as service_bus_connection_string: the AZURE_SERVICEBUS_* variables.",
    )

    @contextmanager
    def open(self, rule: QueueRule) -> Iterator[MessageQueue]:
        """The queue of ``rule``. Raises what `open_queue` raises."""
        with open_queue(rule, self.settings) as queue:
            yield queue

    def probe(self, rule: QueueRule) -> int | None:
        """Ask the queue of ``rule`` once, taking nothing; about how many messages wait, None where it does not say.

        Raises what `open` and `MessageQueue.depth` raise.
        """
        with self.open(rule) as queue:
            depth = queue.depth()
            if depth is None:
                queue.dead_letters(1)
            return depth

    def _own_account(self) -> Mapping[str, Any]:
        own = dict(super()._own_account())
        if self.queue_url:
            own["azure_queue_url"] = self.queue_url
        if self.service_bus_connection_string or self.service_bus_namespace:
            secret = self.service_bus_connection_string
            own["service_bus_connection_string"] = SecretStr(secret) if secret else None
            own["service_bus_namespace"] = self.service_bus_namespace or None
        return own
